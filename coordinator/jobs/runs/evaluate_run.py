"""A run of `evaluate`: the promoted build of a job is measured in a process of its own, and the figures are kept."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from shared.errors import JobError, UsageError
from shared.images.paths import expanded
from shared.job.bundle.facts import refuse_bundle
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.manifest import load_manifest
from shared.processes import stage
from shared.storage import files

QUERIES: Final = 1_000
"""Stored embeddings that are asked for, if no number is given."""
LEAST_QUERIES: Final = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of `evaluate`; `plot` is the PNG file that the sweep is drawn into."""

    job: JobDir
    queries: int = QUERIES
    plot: Path | None = None


def evaluate(asked: Asked, told: Callable[[str, float], None]) -> dict[str, Any]:
    """Measure the promoted build of a job, and return the figures; `told` gets each phase and how much of it is done.

    Raises UsageError for too few queries, a plot that can't be drawn and a bundle, NoIndexYet, and what
    `run_evaluation` raises.
    """
    if asked.queries < LEAST_QUERIES:
        raise UsageError(f"{asked.queries} queries say nothing of an index: ask for {LEAST_QUERIES} at least.")
    refuse_bundle(asked.job.path, load_manifest(asked.job).bundle, "evaluated")
    builds.require_promoted(asked.job)
    plot = None if asked.plot is None else _checked_plot(asked.plot)
    return run_evaluation(asked.job, asked.queries, plot, told)


def _checked_plot(plot: Path) -> Path:
    path = expanded(plot).absolute()
    if path.suffix.lower() != ".png":
        raise UsageError(f"The plot is written as PNG, and {plot} does not end in .png: give it such a name.")
    if not path.parent.is_dir():
        raise UsageError(f"The plot can't be written to {plot}, as there is no directory {path.parent}: make it first.")
    if find_spec("matplotlib") is None:
        raise UsageError("The plot needs matplotlib, which is not installed: pip install 'lookalike[plot]'.")
    return path


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


def keep(job: JobDir, evaluation: dict[str, Any]) -> None:
    """Write the figures to the job's file of them; raises OSError where that can't be written."""
    files.write_bytes(job.evaluation, (json.dumps(evaluation, indent=2) + "\n").encode())
