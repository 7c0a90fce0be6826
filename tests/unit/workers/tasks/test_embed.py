"""The shell around the altered copies and changes: what is asked for next, and what errors come to."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Reject

from shared.errors import CorruptFile, JobError, LookalikeError, MessageError, ModelError
from shared.job import altered_copies
from shared.job.altered_copies import usable_copies
from shared.job.index import builds
from shared.job.partition import ledger
from shared.messages.changed import Changed, changed_from_json
from shared.messages.changes import ChangeJob
from shared.messages.duplicates import ComparePairs
from shared.messages.tasks import EmbedCopies, EmbedPartition
from shared.processes.control import Stopped
from tests.support.compactions import compacted, remove
from tests.support.make_job import MadeJob, make_job
from workers.embed import add_features as adding
from workers.embed import partition
from workers.evaluate.duplicates import compare
from workers.models import loaded
from workers.tasks import embed


@pytest.fixture
def made(tmp_path: Path) -> MadeJob:
    return make_job(tmp_path / "job")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent: "copies" or "merge"."""
    sent: list[str] = []
    monkeypatch.setattr(embed, "send_copies", lambda app, *job: sent.append("copies"))
    monkeypatch.setattr(embed, "send_merge", lambda app, *job: sent.append("merge"))
    monkeypatch.setattr(embed, "leased", lambda *a: nullcontext(SimpleNamespace(held=lambda: True)))
    monkeypatch.setattr(embed, "progress_events", lambda task: nullcontext(lambda text: None))
    monkeypatch.setattr(loaded, "loaded_embedder", lambda *a: None)
    return sent


def call(
    task: Any, made: MadeJob, message: EmbedPartition | EmbedCopies | ChangeJob | ComparePairs, retries: int = 0
) -> Any:
    """Run a task's body as Celery does, its message offered so many times before."""
    settings = SimpleNamespace(batch_size=8, decode_threads=1)
    runtime = SimpleNamespace(
        settings=settings,
        stopping=threading.Event(),
        decode_threads=1,
        job=lambda job_id, identity: made.job,
        client=None,
    )
    request = SimpleNamespace(argsrepr="shown", id="id", retries=retries)
    bound = SimpleNamespace(app=SimpleNamespace(lookalike=runtime), request=request)
    return task.run.__func__(bound, message.to_json())


def raising(error: Exception) -> Callable[..., None]:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    return fail


def digest_of(made: MadeJob) -> str:
    return builds.ledger_digest(ledger.sealed(made.job))


def test_who_seals_the_last_partition_asks_for_the_copies(
    made: MadeJob, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "embed_partition", lambda job, *a, **o: ledger.read_seal(job, 0))
    call(embed.embed_partition, made, EmbedPartition("job", 0))
    assert asked == ["copies"]
    made.job.seal(1).unlink()
    call(embed.embed_partition, made, EmbedPartition("job", 0))
    assert asked == ["copies"], "while a partition is missing nobody is asked"


def test_a_message_of_before_a_compaction_embeds_nothing_and_one_of_no_partition_is_refused(
    made: MadeJob, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "embed_partition", raising(AssertionError("it was embedded")))
    remove(made.job, 30)
    compacted(made.job)
    assert call(embed.embed_partition, made, EmbedPartition("job", 1)) == "replaced by a compaction"
    assert asked == []
    monkeypatch.setattr(embed, "refuse", raising(MessageError("There is none.")))
    with pytest.raises(MessageError):
        call(embed.embed_partition, made, EmbedPartition("job", 4))


def test_whoever_made_the_copies_asks_for_the_merge(
    made: MadeJob, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    none = altered_copies.none_of(made.job.manifest.model.fingerprint, digest_of(made), 0, "The photos are gone.")
    monkeypatch.setattr("workers.evaluate.altered_copies.embed_copies", lambda *a, **o: none)
    assert call(embed.embed_copies, made, EmbedCopies("job")) == "no copies: The photos are gone."
    assert asked == ["merge"]


def test_copies_that_fail_three_times_do_not_hold_up_the_index(
    made: MadeJob, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.evaluate.altered_copies.embed_copies", raising(ModelError("No weights.")))
    for retries in (0, 1):
        with pytest.raises(ModelError):
            call(embed.embed_copies, made, EmbedCopies("job"), retries)
        assert not made.job.copies.exists()
    assert asked == []
    assert call(embed.embed_copies, made, EmbedCopies("job"), 2) == "no copies: No weights."
    assert asked == ["merge"]
    there = usable_copies(made.job, digest_of(made))
    assert there is not None
    assert there.reason == "No weights."


@pytest.mark.parametrize("error", [Stopped(), OSError(5, "Input/output error"), CorruptFile("Damaged.")], ids=repr)
def test_a_stop_a_disk_and_damage_are_not_given_up_on(
    made: MadeJob, asked: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("workers.evaluate.altered_copies.embed_copies", raising(error))
    with pytest.raises(type(error)):
        call(embed.embed_copies, made, EmbedCopies("job"), 50)
    assert asked == []
    assert not made.job.copies.exists()


CHANGE = ChangeJob("job", "delete", "r", ids=(3,))


@pytest.mark.parametrize("error", [JobError("No."), OSError(28, "No space left on device")], ids=repr)
def test_the_error_of_a_change_travels_in_the_reply(
    made: MadeJob, asked: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("workers.embed.changes.apply.apply", raising(error))
    with pytest.raises(LookalikeError, match="No"):
        changed_from_json(call(embed.change_job, made, CHANGE))


def test_a_message_that_is_no_change_is_answered(made: MadeJob, asked: list[str]) -> None:
    with pytest.raises(LookalikeError, match="nothing to delete"):
        changed_from_json(call(embed.change_job, made, ChangeJob("job", "delete", "r")))


def test_a_change_that_a_stop_ends_goes_to_another_worker(
    made: MadeJob, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.embed.changes.apply.apply", raising(Stopped()))
    with pytest.raises(Reject) as given_back:
        call(embed.change_job, made, CHANGE)
    assert given_back.value.requeue


@pytest.mark.parametrize(("queued", "held"), [([], []), (["copies"], []), ([], ["merge"])])
def test_a_job_that_has_grown_past_the_bound_is_merged_and_asked_for_once(
    made: MadeJob, asked: list[str], monkeypatch: pytest.MonkeyPatch, queued: list[str], held: list[str]
) -> None:
    changed = Changed([60], 1, (2_000, 30))
    message = EmbedCopies("job", made.job.manifest.identity).to_json()
    monkeypatch.setattr("workers.embed.changes.apply.apply", lambda *a: changed)
    monkeypatch.setattr(embed, "queued_messages", lambda client, queue: [message] * len(queued))
    monkeypatch.setattr(embed, "holders", lambda client, job: [SimpleNamespace(what=what) for what in held])
    assert changed_from_json(call(embed.change_job, made, CHANGE)) == changed
    assert asked == ([] if queued or held else ["copies"])


def test_a_batch_of_pairs_is_compared_and_what_came_of_it_is_shown(
    made: MadeJob, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[str] = []

    def compared(job: object, batch: str, control: object, threads: int, seen: object) -> int:
        batches.append(batch)
        return 1_234

    monkeypatch.setattr(compare, "compare_pairs", compared)
    assert call(embed.compare_pairs, made, ComparePairs("job", "0" * 16)) == "1,234 pairs show the same"
    assert batches == ["0" * 16]
    assert asked == []


def test_a_sealed_partition_gets_the_features_that_are_wanted_by_no_model(
    made: MadeJob, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "embed_partition", raising(AssertionError("it was embedded")))
    monkeypatch.setattr(loaded, "loaded_embedder", raising(AssertionError("a model was loaded")))
    added: list[int] = []

    def add(job: Any, part: Any, *arguments: Any) -> bool:
        added.append(part.number)
        return True

    monkeypatch.setattr(adding, "add_features", add)
    assert call(embed.embed_partition, made, EmbedPartition("job", 1)).startswith("features made")
    assert (added, asked) == ([1], [])
    monkeypatch.setattr(adding, "add_features", lambda *a: False)
    left = made.job.chunk_dir(1) / "0000.parquet"
    left.parent.mkdir(parents=True)
    left.touch()
    assert call(embed.embed_partition, made, EmbedPartition("job", 1)).startswith("sealed")
    assert not left.parent.exists()  # What a worker left that was killed once it had sealed it.
    assert asked == ["copies"]
