from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

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
