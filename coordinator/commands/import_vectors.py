"""The command `lookalike import`: make a job from vectors that were made elsewhere, and build its index."""

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from coordinator.commands.options import Broker, IndexMemory, IndexName, Recall
from coordinator.display import job as display
from coordinator.display import terminal
from coordinator.display.terminal import err
from coordinator.jobs.from_vectors import import_vectors
from coordinator.jobs.index_request import Typed
from coordinator.jobs.progress import Progress, ProgressReader
from coordinator.jobs.run import run_job
from coordinator.local.resources import named_broker, workers_for_index
from coordinator.sources.vectors.vectors import Vectors, open_vectors
from shared.job.directory import JobDir
from shared.settings import load_settings


def import_(
    embeddings: Annotated[
        str,
        typer.Argument(
            metavar="EMBEDDINGS", help="A folder of .npy or .parquet files, or a .npy, .fvecs or .parquet file."
        ),
    ],
    job: Annotated[Path, typer.Argument(metavar="JOB", help="Directory of the job: made, or gone on with.")],
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Parquet column that holds the vectors, as lists of floats.")
    ] = None,
    path_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Metadata column with the image paths; left out: image_path.")
    ] = None,
    model_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What made the vectors; those of one name are taken to be comparable."),
    ] = None,
    partition_size: Annotated[int | None, typer.Option(min=1, help="Vectors in one partition of a new job.")] = None,
    broker: Broker = None,
    index: IndexName = None,
    recall: Recall = None,
    index_memory: IndexMemory = None,
) -> None:
    """Make JOB from vectors, embedding nothing, and build its index; the same command again continues where it
    stood.
    """
    directory, typed = JobDir.at(job), Typed(index, recall, index_memory)
    settings = load_settings().changed(broker_url=broker, partition_size=partition_size)
    with terminal.interruptible(directory):
        vectors = open_vectors(embeddings, column, path_column)
        err.print(f"{vectors.rows:,} vectors of {vectors.dim:,} dimensions")
        if vectors.left_out:
            said = ", ".join(f"{name} ({why})" for name, why in vectors.left_out.items())
            err.print(f"columns left out: {said}", markup=False)
        with err.status("Importing vectors …") as status:

            def say(doing: str, count: int) -> None:
                status.update(f"{doing.capitalize()} vectors … {count:,} of {vectors.rows:,}")

            manifest = import_vectors(
                vectors,
                directory,
                settings,
                say,
                model_name=model_name,
                partition_size=partition_size,
                # This comes before the work, so that an invalid index request is refused at once, and a kill does not
                # forget it.
                begun=lambda: typed.request(directory, settings),
            )
        progress = ProgressReader(directory, manifest).read()
        err.print(f"{_imported(progress, directory)}; model {manifest.model.fingerprint}")
        if not progress.index_is_current:
            shown = named_broker(settings, broker)
            with ExitStack() as stack:
                settings, children = workers_for_index(stack, directory, settings, progress, 0)
                progress = terminal.show_until_done(run_job(directory, manifest, settings, children), shown)
        for line in _finished(progress, directory, vectors):
            err.print(line)


def _imported(progress: Progress, job: JobDir) -> str:
    failed = (
        f", {progress.failed:,} failed for want of a direction (listed in {job.path}/errors/)"
        if progress.failed
        else ""
    )
    return f"{progress.embedded:,} of {progress.listed:,} vectors imported{failed}"


def _finished(progress: Progress, job: JobDir, vectors: Vectors) -> list[str]:
    """The last lines: what was built, and how to search it, which is not possible with an image here."""
    return [
        f"index {display.index_line(progress)}",
        f"Search it:  lookalike search {shlex.quote(str(job.path))} --vector FILE.npy   (floats [{vectors.dim}])",
    ]
