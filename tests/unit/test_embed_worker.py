"""The shell around the altered copies: what is asked for next, and when the index is built without them."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shared import builds, copies, ledger
from shared.copies import usable_copies
from shared.errors import CorruptFile, ModelError
from shared.messages import EmbedCopies, EmbedPartition
from tests.unit.make_job import MadeJob, make_job
from workers import copies as stage
from workers import embed_worker, embedding, loaded_models
from workers.control import Stopped


@pytest.fixture
def made(tmp_path: Path) -> MadeJob:
    return make_job(tmp_path / "job")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent: "copies" or "merge"."""
    sent: list[str] = []
    monkeypatch.setattr(embed_worker, "send_copies", lambda app, *job: sent.append("copies"))
    monkeypatch.setattr(embed_worker, "send_merge", lambda app, *job: sent.append("merge"))
    monkeypatch.setattr(embed_worker, "leased", lambda *a: nullcontext(SimpleNamespace(held=lambda: True)))
    monkeypatch.setattr(embed_worker, "progress_events", lambda task: nullcontext(lambda text: None))
    monkeypatch.setattr(loaded_models, "loaded_embedder", lambda *a: None)
    return sent


def call(task: Any, made: MadeJob, message: EmbedPartition | EmbedCopies, retries: int = 0) -> str:
    """Run a task's body as Celery does, its message offered so many times before."""
    settings = SimpleNamespace(batch_size=8, decode_threads=1)
    runtime = SimpleNamespace(
        settings=settings, stopping=threading.Event(), decode_threads=1, job=lambda job_id, identity: made.job
    )
    request = SimpleNamespace(argsrepr="shown", id="id", retries=retries)
    bound = SimpleNamespace(app=SimpleNamespace(lookalike=runtime), request=request)
    result: str = task.run.__func__(bound, message.to_json())
    return result


def raising(error: Exception) -> Callable[..., None]:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    return fail


def digest_of(made: MadeJob) -> str:
    return builds.ledger_digest(ledger.sealed(made.job, made.manifest))


def test_who_seals_the_last_partition_asks_for_the_copies(
    made: MadeJob, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "embed_partition", lambda job, *a, **o: ledger.read_seal(job, 0))
    call(embed_worker.embed_partition, made, EmbedPartition("job", 0))
    assert asked == ["copies"]
    made.job.seal(1).unlink()
    call(embed_worker.embed_partition, made, EmbedPartition("job", 0))
    assert asked == ["copies"], "while a partition is missing nobody is asked"


def test_whoever_made_the_copies_asks_for_the_merge(
    made: MadeJob, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    none = copies.none_of(made.manifest.model.fingerprint, digest_of(made), 0, "The photos are gone.")
    monkeypatch.setattr(stage, "embed_copies", lambda *a, **o: none)
    assert call(embed_worker.embed_copies, made, EmbedCopies("job")) == "no copies: The photos are gone."
    assert asked == ["merge"]


def test_copies_that_fail_three_times_do_not_hold_up_the_index(
    made: MadeJob, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "embed_copies", raising(ModelError("No weights.")))
    for retries in (0, 1):
        with pytest.raises(ModelError):
            call(embed_worker.embed_copies, made, EmbedCopies("job"), retries)
        assert not made.job.copies.exists()
    assert asked == []
    assert call(embed_worker.embed_copies, made, EmbedCopies("job"), 2) == "no copies: No weights."
    assert asked == ["merge"]
    there = usable_copies(made.job, digest_of(made))
    assert there is not None
    assert there.reason == "No weights."


@pytest.mark.parametrize("error", [Stopped(), OSError(5, "Input/output error"), CorruptFile("Damaged.")], ids=repr)
def test_a_stop_a_disk_and_damage_are_not_given_up_on(
    made: MadeJob, asked: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(stage, "embed_copies", raising(error))
    with pytest.raises(type(error)):
        call(embed_worker.embed_copies, made, EmbedCopies("job"), 50)
    assert asked == []
    assert not made.job.copies.exists()
