from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from coordinator.client.sent_queries import PING_SECONDS
from coordinator.local import resources
from shared.job.directory import JobDir
from shared.settings import Settings


def test_workers_are_started_where_no_broker_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[object] = []
    broker = SimpleNamespace(url="redis://x", directory=tmp_path)
    monkeypatch.setattr(resources, "EmbeddedBroker", lambda root: nullcontext(broker))

    def workers(roles: list[str], settings: Settings, directory: Path) -> nullcontext[str]:
        started.append((roles, settings.broker_url, settings.jobs_root, directory))
        return nullcontext("workers")

    monkeypatch.setattr(resources, "LocalWorkers", workers)
    monkeypatch.setattr(resources, "require_working_broker", lambda settings: None)
    job = JobDir(tmp_path / "job")
    with ExitStack() as stack:
        settings, children = resources.workers_for_index(stack, job, Settings(), ["embed", "merge"])
        assert (settings.broker_url, children) == ("redis://x", "workers")
        given = Settings(broker_url="redis://there")
        assert resources.workers_for_index(stack, job, given, ["embed", "merge"]) == (given, None)
    assert started == [(["embed", "merge"], "redis://x", tmp_path, tmp_path)]


@pytest.mark.parametrize(("typed", "by"), [(None, "REDIS_URL"), ("redis://:s3cr3t@h/0", "--broker")])
def test_a_broker_is_named_with_what_gave_it_and_without_its_secrets(
    typed: str | None, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:s3cr3t@h/0")
    settings = Settings(broker_url="redis://:s3cr3t@h/0")
    assert resources.named_broker(settings, typed) == f"redis://**@h/0 (from {by})"
    assert resources.named_broker(Settings(), None) == ""


def test_a_worker_of_ones_own_is_asked_again_and_again_each_time_with_more_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, waits, watched = [100.0], [], []

    def has_worker(node: str, *, seconds: float) -> bool:
        assert node == "own-query1@here"
        waits.append(seconds)
        now[0] += seconds
        return now[0] >= 112

    monkeypatch.setattr(resources, "time", SimpleNamespace(monotonic=lambda: now[0]))
    workers = SimpleNamespace(nodes=["own-query1@here"], watch=lambda: watched.append(now[0]))
    resources.QueryService(SimpleNamespace(has_worker=has_worker), workers).ready()  # type: ignore[arg-type]
    assert waits[0] < 0.2
    assert waits == sorted(waits)
    assert waits[-1] == PING_SECONDS
    assert len(watched) == len(waits)
    assert now[0] - 112 <= PING_SECONDS
