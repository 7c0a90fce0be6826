"""Make jobs of made features: write features to files, import them, and measure steps on a job."""

import shutil
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.support.features import Features
from benchmarks.support.processes import run_module
from shared.errors import UsageError
from shared.job.directory import JobDir

FILE_BLOCKS: Final = 12
FRESH: Final = 800


def require_space(folder: Path, rows: int, dim: int) -> None:
    """Raise UsageError where `folder` has too little space for the features and, for a while, a job of them as well."""
    needed, free = round(rows * dim * 2 * 2.2), shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"{rows:,} features need {needed:,} bytes of disk, and {free:,} are free: give another --work."
        )


def imported(folder: Path, rows: int, given: Path) -> tuple[JobDir, dict[str, Any]]:
    """The job that `lookalike import` makes of the features in `given`, which are removed, and what it took."""
    job = JobDir.at(folder / "jobs" / str(rows))
    job.jobs_root.mkdir(exist_ok=True)
    took: dict[str, Any] = step("import", job, given)
    shutil.rmtree(given)
    return job, took


def write_features(source: Features, folder: Path) -> Path:
    """A new folder of .npy files that together hold the collection, float16 [n, dim]."""
    folder.mkdir()
    blocks = source.blocks()
    for number, some in enumerate(iter(lambda: list(islice(blocks, FILE_BLOCKS)), [])):
        np.save(folder / f"features_{number:04d}.npy", np.concatenate(some))
    return folder


def step(name: str, job: JobDir, *arguments: str | Path) -> Any:
    """What a step of `benchmarks.support.job_steps` on a job tells of itself."""
    return run_module("benchmarks.support.job_steps", name, job.path, *arguments)
