"""The command `lookalike evaluate`: measure the promoted build of a job in a process of its own."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from coordinator.commands.options import Job, Json
from coordinator.display import terminal
from coordinator.display.evaluation import evaluation_view
from coordinator.display.terminal import err, out
from shared.errors import JobError, UsageError
from shared.images.paths import expanded
from shared.job.bundle.facts import refuse_bundle
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.manifest import load_manifest
from shared.processes import stage
from shared.storage import files


def evaluate(
    job: Job,
    as_json: Json = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png", help="Draw recall against latency as well; needs matplotlib."),
    ] = None,
    queries: Annotated[
        int, typer.Option("--queries", min=10, help="Stored embeddings to ask for, drawn by a fixed seed.")
    ] = 1_000,
) -> None:
    """Measure the index of JOB on its own images: recall, latency, memory, accuracy on altered copies."""
    directory = JobDir.at(job)
    refuse_bundle(directory.path, load_manifest(directory).bundle, "evaluated")
    builds.require_promoted(directory)
    picture = None if plot is None else _checked_plot(plot)
    with err.status("Evaluating …") as status:
        evaluation = run_evaluation(
            directory,
            queries,
            picture,
            lambda phase, share: status.update(f"Evaluating … {phase}" + (f" · {share:.0%}" if share else "")),
        )
    if as_json:
        terminal.show_json(evaluation)
    else:
        out.print(evaluation_view(evaluation))
        _keep(directory, evaluation)
    if picture is not None:
        err.print(f"plot: {picture}")


def _checked_plot(plot: Path) -> Path:
    path = expanded(plot).absolute()
    if path.suffix.lower() != ".png":
        raise UsageError(f"The plot is written as PNG, and {plot} does not end in .png: give it such a name.")
    if not path.parent.is_dir():
        raise UsageError(f"The plot can't be written to {plot}, as there is no directory {path.parent}: make it first.")
    if find_spec("matplotlib") is None:
        raise UsageError("The plot needs matplotlib, which is not installed: pip install 'lookalike[plot]'.")
    return path


def _keep(job: JobDir, evaluation: dict[str, Any]) -> None:
    path = job.evaluation
    try:
        files.write_bytes(path, (json.dumps(evaluation, indent=2) + "\n").encode())
    except OSError as error:
        err.print(f"The figures were not kept in {path} ({error.strerror}): `--json` prints them.")
    else:
        err.print(f"figures: {path}")


def run_evaluation(job: JobDir, queries: int, plot: Path | None, told: Callable[[str, float], None]) -> dict[str, Any]:
    """Measure the promoted build in a process of its own: the coordinator imports no FAISS, and memory is measured
    alone.

    `told` gets each phase and how much of it is done. Raises the error that the process reports, or JobError with the
    end of its output if it ended without one.
    """
    return stage.result_of(
        "workers.evaluate.report",
        [str(job.path), "--queries", str(queries), *([] if plot is None else ["--plot", str(plot)])],
        lambda said: told(said["phase"], said["share"]),
        what=f"The evaluation of {job.path}",
        ended=JobError,
    )
