from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from coordinator.jobs.progress import Progress
from coordinator.local import resources
from shared.job.directory import JobDir
from shared.settings import Settings
from tests.unit.coordinator.display.test_job_view import DONE, NEW, SEALED, UNDER_WAY

Started = Callable[[Progress], list[str]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Started:
    """The roles that are started for a job that is so far, with two embed workers asked for."""
    roles: list[str] = []
    broker = SimpleNamespace(url="redis://x", directory=tmp_path)
    monkeypatch.setattr(resources, "EmbeddedBroker", lambda root: nullcontext(broker))

    def workers(chosen: list[str], settings: Settings, directory: Path) -> nullcontext[None]:
        roles.extend(chosen)
        return nullcontext()

    monkeypatch.setattr(resources, "LocalWorkers", workers)

    def start(progress: Progress) -> list[str]:
        roles.clear()
        with ExitStack() as stack:
            resources.workers_for_index(stack, JobDir(tmp_path / "job"), Settings(), progress, 2)
        return list(roles)

    return start


def test_who_is_started_is_who_has_something_to_do(started: Started) -> None:
    assert started(NEW) == started(UNDER_WAY) == ["embed", "embed", "merge"]
    assert started(SEALED) == ["embed", "merge"], "the altered copies are still to be embedded"
    assert started(replace(SEALED, copies_done=True)) == ["merge"]
    assert DONE.index_is_current


@pytest.mark.parametrize(("typed", "by"), [(None, "REDIS_URL"), ("redis://:s3cr3t@h/0", "--broker")])
def test_a_broker_is_named_with_what_gave_it_and_without_its_secrets(
    typed: str | None, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:s3cr3t@h/0")
    settings = Settings(broker_url="redis://:s3cr3t@h/0")
    assert resources.named_broker(settings, typed) == f"redis://**@h/0 (from {by})"
    assert resources.named_broker(Settings(), None) == ""
