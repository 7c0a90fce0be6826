"""The command `lookalike evaluate`: measure the promoted build of a job in a process of its own."""

from pathlib import Path
from typing import Annotated, Any

import typer

from coordinator.commands.options import Job, Json
from coordinator.display import terminal
from coordinator.display.evaluation import evaluation_view
from coordinator.display.terminal import err, out
from coordinator.jobs.runs import evaluate_run
from shared.images.paths import expanded
from shared.job.directory import JobDir


def evaluate(
    job: Job,
    as_json: Json = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png", help="Draw recall against latency as well; needs matplotlib."),
    ] = None,
    queries: Annotated[
        int,
        typer.Option(
            "--queries", min=evaluate_run.LEAST_QUERIES, help="Stored embeddings to ask for, drawn by a fixed seed."
        ),
    ] = evaluate_run.QUERIES,
) -> None:
    """Measure the index of JOB on its own images: recall, latency, memory, accuracy on altered copies."""
    asked = evaluate_run.Asked(JobDir.at(job), queries, plot)
    with err.status("Evaluating …") as status:
        evaluation = evaluate_run.evaluate(
            asked, lambda phase, share: status.update(f"Evaluating … {phase}" + (f" · {share:.0%}" if share else ""))
        )
    if as_json:
        terminal.show_json(evaluation)
    else:
        out.print(evaluation_view(evaluation))
        _keep(asked.job, evaluation)
    if plot is not None:
        err.print(f"plot: {expanded(plot).absolute()}")


def _keep(job: JobDir, evaluation: dict[str, Any]) -> None:
    path = job.evaluation
    try:
        evaluate_run.keep(job, evaluation)
    except OSError as error:
        err.print(f"The figures were not kept in {path} ({error.strerror}): `--json` prints them.")
    else:
        err.print(f"figures: {path}")
