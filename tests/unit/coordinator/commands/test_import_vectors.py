from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.display import terminal
from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.reconcile import Look
from coordinator.jobs.runs import loop
from coordinator.jobs.runs.events import Step
from coordinator.local import resources
from shared.job.opened import OpenJob
from shared.settings import Settings
from tests.support.builds import build
from tests.support.cli import Run


@pytest.fixture
def vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of 25 vectors, of which one is zero; `import` merges in this process, where there is no broker."""
    rows = np.random.default_rng(1).normal(size=(25, 16)).astype(np.float32)
    rows[7] = 0
    np.save(tmp_path / "vectors.npy", rows)

    def run_job(job: OpenJob, settings: Settings, workers: Any) -> Iterator[Step]:
        build(job)
        yield Step(Look(ProgressReader(job).read()), [])

    monkeypatch.setattr(loop, "run_job", run_job)
    monkeypatch.setattr(resources, "require_working_broker", lambda settings: None)
    return tmp_path / "vectors.npy"


def test_import_says_what_it_found_what_it_made_and_how_to_search_it(
    run: Run, vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "Waiting", lambda *_: pytest.fail("What goes on is shown on terminals alone."))
    ran = run("import", vectors, "my job", "--partition-size", "10", "--broker", "redis://:pw@host")
    job = tmp_path / "my job"
    first, imported, *after = ran.err.splitlines()
    assert (ran.status, ran.out) == (0, "")
    assert first == "25 vectors of 16 dimensions"
    assert imported.startswith(
        f"24 of 25 vectors imported, 1 failed for want of a direction (listed in {job}/errors/); model imported@"
    )
    done = "25/25 images · 1 failed · done · partitions: 3 sealed, 0 started, 0 waiting"
    ends = [
        "index 0001-ab12cd34: Flat, 90 embeddings, recall@10 1.000 (50 queries), 0.25 ms a query (p50)",
        f"Search it:  lookalike search '{job}' --vector FILE.npy   (floats [16])",
    ]
    assert after == [done, *ends]
    again = run("import", vectors, "my job")
    assert again.err.splitlines() == [first, imported, *ends]
