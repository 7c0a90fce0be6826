"""The command `lookalike import`: make a job from vectors that were made elsewhere, and build its index."""

from pathlib import Path
from typing import Annotated

import typer

from coordinator.commands.options import Broker, IndexMemory, IndexName, Recall, ShardMemory, Shards
from coordinator.display import job_view, run_view, terminal
from coordinator.display.terminal import err
from coordinator.jobs.index_request import Typed
from coordinator.jobs.runs import import_run
from coordinator.jobs.runs.import_run import Asked
from coordinator.local.resources import named_broker
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
    shards: Shards = None,
    shard_memory: ShardMemory = None,
) -> None:
    """Make JOB from vectors, embedding nothing, and build its index; the same command again continues where it
    stood.
    """
    directory, typed = JobDir.at(job), Typed(index, recall, index_memory, shards, shard_memory)
    settings = load_settings().changed(broker_url=broker, partition_size=partition_size)
    asked = Asked(embeddings, directory, settings, column, path_column, model_name, partition_size, typed)
    with (
        terminal.interruptible(directory),
        # Where there is no terminal, only what was imported is said.
        run_view.RunView(directory, named_broker(settings, broker), job_view.imported_lines, err.status) as view,
    ):
        import_run.import_(asked, view.tell)
