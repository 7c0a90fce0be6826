"""The shell around the merge: what it is controlled by, and what it tells Flower."""

import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.job.index import builds
from shared.messages.tasks import MergeJob
from shared.processes.control import Stopped
from shared.settings import Settings
from tests.support.make_job import MadeJob, make_job
from workers.tasks import merge


class Worker:
    """A worker whose stop and lease the test decides about, by what it has told so far."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, made: MadeJob) -> None:
        self.stopping = threading.Event()
        self.told: list[str] = []
        self.lost_after = self.stop_after = ""
        self.made = made
        lease = SimpleNamespace(held=lambda: self.lost_after not in self.told)
        monkeypatch.setattr(merge, "leased", lambda *_: nullcontext(lease))
        monkeypatch.setattr(merge, "progress_events", lambda task: nullcontext(self.tell))

    def tell(self, progress: object) -> None:
        self.told.append(str(progress))
        if self.told[-1] == self.stop_after:
            self.stopping.set()

    def run(self) -> str:
        runtime = SimpleNamespace(
            settings=Settings(), stopping=self.stopping, job=lambda job_id, identity: self.made.job
        )
        task = SimpleNamespace(app=SimpleNamespace(lookalike=runtime), request=SimpleNamespace(argsrepr="shown"))
        result: str = merge.merge_job.run.__func__(task, MergeJob("job").to_json())
        return result


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Worker:
    return Worker(monkeypatch, make_job(tmp_path / "job"))


def test_a_merge_tells_its_phases_in_percent_and_what_it_made(worker: Worker) -> None:
    assert worker.run().startswith("Flat · 60 embeddings · recall@10 1.000 (60 queries) · ")
    assert worker.told[:4] == ["checking · 0%", "checking · 33%", "checking · 67%", "checking · 100%"]
    assert worker.told[-1] == "promoting · 0%"
    assert builds.current_build(worker.made.job) is not None


@pytest.mark.parametrize("how", ["stop_after", "lost_after"])
@pytest.mark.parametrize("when", ["checking · 33%", "training · 100%", "measuring · 100%"])
def test_a_merge_ends_at_the_next_step_when_it_is_stopped_or_its_lease_is_lost(
    worker: Worker, how: str, when: str
) -> None:
    setattr(worker, how, when)
    with pytest.raises(Stopped):
        worker.run()
    assert worker.told[-1] == when
    assert builds.current_build(worker.made.job) is None
