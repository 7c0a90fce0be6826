"""The shell around the merge: what it is controlled by, and what it tells Flower."""

import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shared.job.index import builds
from shared.job.index.request import IndexRequest, write_index_request
from shared.messages.duplicates import FindNeighbours
from shared.messages.tasks import FillShard, MergeJob
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
        self.task: Any = merge.merge_job
        self.message: MergeJob | FillShard | FindNeighbours = MergeJob("job")
        self.sent: list[object] = []
        monkeypatch.setattr(merge, "send_merge", lambda app, *job: self.sent.append("merge"))
        monkeypatch.setattr(merge, "send_shard", lambda app, job, identity, *shard: self.sent.append(shard))
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
        return str(self.task.run.__func__(task, self.message.to_json()))


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Worker:
    return Worker(monkeypatch, make_job(tmp_path / "job"))


@pytest.mark.usefixtures("all_queries")
def test_a_merge_tells_its_phases_in_percent_and_what_it_made(worker: Worker) -> None:
    assert worker.run().startswith("Flat · 60 embeddings · recall@10 1.000 (60 queries) · ")
    assert worker.told[:4] == ["checking · 0%", "checking · 33%", "checking · 67%", "checking · 100%"]
    assert worker.told[-1] == "promoting · 0%"
    assert builds.current_build(worker.made.job) is not None


def test_of_an_index_of_shards_each_is_a_task_and_the_last_asks_for_the_merge(worker: Worker) -> None:
    write_index_request(worker.made.job, IndexRequest(shards=3))
    assert worker.run().startswith("3 of 3 shards of 0001-")
    (name,) = builds.build_names(worker.made.job)
    assert worker.sent == [(name, 0, 3), (name, 1, 3), (name, 2, 3)]
    worker.sent.clear()
    worker.task = merge.fill_shard
    said = []
    for number in (2, 0, 1, 1):
        worker.message = FillShard("job", name, number)
        said.append(worker.run())
    assert said == ["full, 2 to come", "full, 1 to come", "full, the last one", "full, the last one"]
    assert worker.sent == ["merge", "merge"], "one that finds nothing to fill asks too, as the first may have been lost"
    assert worker.told[-1] == "adding · 100%"
    worker.task, worker.message = merge.merge_job, MergeJob("job")
    assert worker.run().startswith("Flat · 60 embeddings")
    assert builds.current_build(worker.made.job) == name
    worker.task, worker.message = merge.fill_shard, FillShard("job", name, 1)
    assert worker.run() == f"not filled: The build {name} is whole, or was given up"


@pytest.mark.parametrize("how", ["stop_after", "lost_after"])
def test_a_shard_ends_at_the_next_step_when_it_is_stopped_or_its_lease_is_lost(worker: Worker, how: str) -> None:
    write_index_request(worker.made.job, IndexRequest(shards=2))
    worker.run()
    (name,) = builds.build_names(worker.made.job)
    worker.task, worker.message = merge.fill_shard, FillShard("job", name, 0)
    setattr(worker, how, "adding · 0%")
    with pytest.raises(Stopped):
        worker.run()
    assert not (worker.made.job.build_dir(name) / "index_0000.faiss").exists()


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


def test_the_neighbours_of_a_partition_are_found_and_a_stop_writes_none(worker: Worker) -> None:
    worker.run()
    worker.told.clear()
    worker.task, worker.message = merge.find_neighbours, FindNeighbours("job", 0)
    assert worker.run().startswith("neighbours in neighbours_0000_")
    assert worker.told == ["neighbours · 100%"]
    worker.message = FindNeighbours("job", 1)
    worker.stopping.set()
    with pytest.raises(Stopped):
        worker.run()
    assert [path.name[:15] for path in worker.made.job.duplicates_files("neighbours")] == ["neighbours_0000"]
    worker.message = FindNeighbours("job", 7)
    assert worker.run() == "replaced by a compaction"
