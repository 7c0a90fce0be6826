"""Measure the index of a job on its own images, as `lookalike evaluate` does, in an object that a notebook shows."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lookalike import extras
from lookalike.job import Job
from lookalike.notebook.shown import table
from lookalike.program import Event
from shared.job.directory import JobDir


class Evaluation(Mapping[str, Any]):
    """The figures of an evaluation by their names, as `lookalike evaluate --json` has them; as text, its table.

    Among them are `recall_at_10` (None where no image has a neighbour), `p50_ms`, `p99_ms`, `queries_per_second`,
    `accuracy` on altered copies, `verdicts`, and the `sweep` over other widths of the search.
    """

    def __init__(self, figures: Mapping[str, Any]) -> None:
        self._figures = figures

    def __getitem__(self, name: str) -> Any:
        return self._figures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._figures)

    def __len__(self) -> int:
        return len(self._figures)

    def __str__(self) -> str:
        from coordinator.display.evaluation import evaluation_view
        from coordinator.display.terminal import text_of

        return text_of(evaluation_view(self._figures))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from coordinator.display.evaluation import evaluation_rows

        return table(evaluation_rows(self._figures), ("", "this job", "the article's claim"))


def evaluate(
    job: Job | str | os.PathLike[str],
    *,
    progress: Callable[[Event], object] | None = None,
    queries: int | None = None,
    plot: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Measure the index of a job: recall and latency beside exact search, memory, accuracy on altered copies.

    The figures are kept in a file beside the job too, whose place `progress` is told.

    Parameters
    ----------
    job
        A job, its directory or its URL.
    progress
        A function that is called with an `Event` for each phase.
    queries
        How many stored embeddings to ask for, at least 10; by default 1,000.
    plot
        A file to end in .png, into which recall is drawn against latency; it takes matplotlib.

    Raises
    ------
    LookalikeError
        NoIndexYet before the job has an index, UsageError for what can't be measured or drawn, CorruptFile.
    """
    with extras.needed("To evaluate a job"):
        from coordinator.jobs.runs import evaluate_run
    tell = progress or (lambda event: None)
    directory = JobDir.at(job.path if isinstance(job, Job) else os.fspath(job))
    asked = evaluate_run.Asked(
        directory, evaluate_run.QUERIES if queries is None else queries, None if plot is None else Path(plot)
    )

    def told(phase: str, share: float) -> None:
        tell(Event(f"Evaluating … {phase}" + (f" · {share:.0%}" if share else ""), passing=True))

    figures = evaluate_run.evaluate(asked, told)
    path = directory.evaluation
    try:
        evaluate_run.keep(directory, figures)
    except OSError as error:
        tell(Event(f"The figures were not kept in {path} ({error.strerror})."))
    else:
        tell(Event(f"figures: {path}"))
    return Evaluation(figures)
