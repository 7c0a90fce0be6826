import base64
import fnmatch
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kombu.exceptions
import pytest
import redis

from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.reconcile import COPIES_SECONDS, GRACE_SECONDS, Reconciler
from shared.broker.lease import COPIES, MERGE, lease_key, shard_lease
from shared.errors import BrokerRefuses
from shared.job import altered_copies
from shared.job.directory import JobDir
from shared.job.identity import known_as
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.request import IndexRequest
from shared.job.index.shards import TRAINED_FILE, even_ranges, shard_file
from shared.job.opened import OpenJob, open_job, with_manifest
from shared.job.partition import ledger
from shared.job.partition.features.wanted import want_features
from shared.messages.tasks import (
    COPIES_TASK,
    EMBED_QUEUE,
    MERGE_QUEUE,
    TASK_QUEUES,
    EmbedCopies,
    EmbedPartition,
    MergeJob,
)
from shared.storage import files
from tests.support.builds import build
from tests.support.make_job import make_job

IDENTITY, OTHER = "0123456789abcdef", "fedcba9876543210"


class FakeBroker:
    """A Celery app and the Redis behind it, as far as reconciling sees them: queues, keys, and a way to be away."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.hashes: dict[str, dict[str, str]] = {}
        self.queues: dict[str, list[str]] = {}
        self.delayed: list[str] = []
        self.sent: list[Any] = []
        self.shown: list[str] = []
        self.away: Exception | None = None
        self.fails_after: int | None = None
        self.nodes: dict[str, Any] | None = None
        self.control = SimpleNamespace(inspect=lambda timeout: SimpleNamespace(active_queues=lambda: self.nodes))

    # The app.
    def send_task(self, name: str, args: list[Any], argsrepr: str, **options: Any) -> None:
        if self.fails_after is not None and len(self.sent) >= self.fails_after:
            raise kombu.exceptions.OperationalError("Connection refused.")
        self._answer()
        assert options == {"ignore_result": True, "retry": False}
        body = base64.b64encode(json.dumps([args, {}, {}]).encode()).decode()
        self.queues.setdefault(TASK_QUEUES[name], []).append(json.dumps({"body": body, "headers": {}}))
        whole = f"shard {args[0]['shard']}" if "shard" in args[0] else COPIES if name == COPIES_TASK else MERGE
        self.sent.append(args[0].get("partition", whole))
        self.shown.append(argsrepr)

    # Redis.
    def _answer(self) -> None:
        if self.away is not None:
            raise self.away

    def scan_iter(self, match: str, count: int) -> Iterator[str]:
        self._answer()
        found = fnmatch.filter(self.keys, match)
        return iter(found + found[:1])  # As a SCAN may do.

    def mget(self, keys: list[str]) -> list[str | None]:
        self._answer()
        return [self.keys.get(key) for key in keys]

    def hgetall(self, key: str) -> dict[str, str]:
        self._answer()
        return self.hashes.get(key, {})

    def lrange(self, queue: str, first: int, last: int) -> list[str]:
        self._answer()
        assert (first, last) == (0, -1)
        return list(self.queues.get(queue, []))

    def hvals(self, key: str) -> list[str]:
        self._answer()
        assert key == "unacked"
        return self.delayed

    # What workers do.
    def put_off(self, queue: str) -> None:
        """A worker takes the oldest message of a queue, can't do it, and holds a new one for later."""
        envelope = json.loads(self.queues[queue].pop(0))
        self.delayed.append(json.dumps([envelope | {"headers": {"eta": "2026-01-01T00:00:00"}}, "", queue]))

    def take(self, queue: str, owner: str = "embed1@here") -> None:
        """A worker takes the oldest message of a queue, and its lease."""
        table = json.loads(base64.b64decode(json.loads(self.queues[queue].pop(0))["body"]))[0][0]
        self.hold(
            table["job"], table.get("partition", COPIES if queue == EMBED_QUEUE else MERGE), owner, table["identity"]
        )

    def hold(self, job: str, what: int | str, owner: str = "embed1@here", identity: str = IDENTITY) -> None:
        self.keys[lease_key(known_as(job, identity), what)] = f"{owner}|token"

    def lose(self, job: str, what: int | str, identity: str = IDENTITY) -> None:
        del self.keys[lease_key(known_as(job, identity), what)]

    def taken(self) -> list[Any]:
        sent, self.sent = self.sent, []
        return sent


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def clock() -> Clock:
    return Clock()


Make = Callable[..., Reconciler]


def without_copies(job: OpenJob) -> None:
    """Have it said of what is sealed now that no altered copies can be made."""
    digest = builds.ledger_digest(ledger.sealed(job))
    altered_copies.write_copies(
        job, altered_copies.none_of(job.manifest.model.fingerprint, digest, 0, "The photos are gone.")
    )


@pytest.fixture
def reconciler(tmp_path: Path, broker: FakeBroker, clock: Clock) -> Make:
    def make(sealed: list[int] | None = None, has_copies: bool = True) -> Reconciler:
        made = make_job(tmp_path / "job", listed=100, sealed=[] if sealed is None else sealed)
        if has_copies:
            without_copies(made.job)
        job = with_manifest(made.job, replace(made.job.manifest, identity=IDENTITY))
        return Reconciler(broker, broker, ProgressReader(job), clock)  # type: ignore[arg-type]

    return make


def test_the_first_look_asks_for_each_missing_partition_once(reconciler: Make, broker: FakeBroker) -> None:
    reconciling = reconciler(sealed=[1])
    look = reconciling.look()
    assert broker.sent == [0, 2, 3]
    assert broker.shown == ["job partition 1/4", "job partition 3/4", "job partition 4/4"]
    assert (look.holders, look.troubles, look.broker_error) == ([], [], None)
    assert look.progress.partitions["sealed"] == 1
    messages = [json.loads(base64.b64decode(json.loads(raw)["body"]))[0][0] for raw in broker.queues[EMBED_QUEUE]]
    assert [EmbedPartition.from_json(message) for message in messages] == [
        EmbedPartition("job", number, IDENTITY) for number in (0, 2, 3)
    ]


def test_what_waits_in_the_queue_is_never_sent_again(reconciler: Make, broker: FakeBroker, clock: Clock) -> None:
    reconciling = reconciler()
    for _ in range(50):
        reconciling.look()
        clock.now += GRACE_SECONDS
    assert broker.sent == [0, 1, 2, 3]


def test_a_new_coordinator_sends_only_what_is_neither_queued_nor_held(
    reconciler: Make, broker: FakeBroker, clock: Clock
) -> None:
    reconciler().look()
    broker.take(EMBED_QUEUE)
    broker.queues[EMBED_QUEUE].pop(1)
    assert broker.taken() == [0, 1, 2, 3]
    look = reconciler().look()
    assert broker.sent == [2]
    assert [(holder.owner, holder.what) for holder in look.holders] == [("embed1@here", "0")]


def test_what_other_jobs_hold_and_ask_for_is_not_ours(reconciler: Make, broker: FakeBroker) -> None:
    broker.hold("other", 0)
    broker.hold("jo", 1)
    broker.hold("job2", 2)
    broker.send_task(
        "lookalike.embed_partition", [EmbedPartition("other", 3).to_json()], "", ignore_result=True, retry=False
    )
    broker.taken()
    reconciler().look()
    assert broker.sent == [0, 1, 2, 3]


def test_what_a_job_of_the_same_name_under_another_root_holds_and_asks_for_is_not_ours(
    reconciler: Make, broker: FakeBroker
) -> None:
    broker.hold("job", 0, identity=OTHER)
    table = EmbedPartition("job", 3, OTHER).to_json()
    broker.send_task("lookalike.embed_partition", [table], "", ignore_result=True, retry=False)
    broker.taken()
    look = reconciler().look()
    assert (broker.taken(), look.holders) == ([0, 1, 2, 3], [])
    for task, message, expected, has_copies in (
        ("lookalike.embed_copies", EmbedCopies("job", OTHER), COPIES, False),
        ("lookalike.merge_job", MergeJob("job", OTHER), MERGE, True),
    ):
        broker.send_task(task, [message.to_json()], "", ignore_result=True, retry=False)
        broker.taken()
        reconciler(sealed=[0, 1, 2, 3], has_copies=has_copies).look()
        assert broker.taken() == [expected]


def test_strange_messages_in_the_queue_are_passed_over(reconciler: Make, broker: FakeBroker) -> None:
    body = base64.b64encode(b"[[], {}, {}]").decode()
    broker.queues[EMBED_QUEUE] = ["no json", "[]", "{}", '{"body": "%%%"}', json.dumps({"body": body})]
    for arguments in ([None], ["text"], [{"job": "job", "partition": 0}], [{"version": 9}]):
        body = base64.b64encode(json.dumps([arguments, {}, {}]).encode()).decode()
        broker.queues[EMBED_QUEUE].append(json.dumps({"body": body}))
    reconciler().look()
    assert broker.sent == [0, 1, 2, 3]


def all_taken(reconciler: Make, broker: FakeBroker) -> Reconciler:
    """A reconciler whose first look asked for all partitions, each of which a worker has taken."""
    reconciling = reconciler()
    reconciling.look()
    while broker.queues[EMBED_QUEUE]:
        broker.take(EMBED_QUEUE)
    assert broker.taken() == [0, 1, 2, 3]
    return reconciling


def test_a_partition_that_is_unaccounted_for_is_sent_again_after_the_grace(
    reconciler: Make, broker: FakeBroker, clock: Clock
) -> None:
    reconciling = all_taken(reconciler, broker)
    reconciling.look()
    broker.lose("job", 2)  # Its worker has died.
    for passed, expected in ((0.0, []), (GRACE_SECONDS - 0.1, []), (0.2, [2]), (1.0, [])):
        clock.now += passed
        reconciling.look()
        assert broker.taken() == expected, passed
    broker.queues[EMBED_QUEUE].clear()
    for passed, expected in ((0.0, []), (GRACE_SECONDS, [2])):
        clock.now += passed
        reconciling.look()
        assert broker.taken() == expected, passed


def test_a_partition_whose_workers_death_was_seen_is_sent_again_at_once(
    reconciler: Make, broker: FakeBroker, clock: Clock
) -> None:
    reconciling = all_taken(reconciler, broker)
    broker.lose("job", 2)
    reconciling.resend_at_once()
    reconciling.look()
    assert broker.taken() == [2]
    broker.queues[EMBED_QUEUE].clear()
    reconciling.look()
    assert broker.taken() == [], "and not again before the grace"


def test_a_partition_that_a_worker_has_put_off_is_not_sent_again(
    reconciler: Make, broker: FakeBroker, clock: Clock
) -> None:
    reconciling = reconciler()
    reconciling.look()
    assert broker.taken() == [0, 1, 2, 3]
    for _ in range(4):
        broker.put_off(EMBED_QUEUE)
    for _ in range(5):  # A worker without the images' mount does so for hours, while another works.
        clock.now += GRACE_SECONDS
        reconciling.look()
    assert broker.taken() == []


def test_a_partition_that_is_accounted_for_in_between_starts_the_grace_anew(
    reconciler: Make, broker: FakeBroker, clock: Clock
) -> None:
    reconciling = reconciler(sealed=[1, 2, 3])
    reconciling.look()
    broker.take(EMBED_QUEUE)
    assert broker.taken() == [0]
    for _ in range(5):
        broker.lose("job", 0)
        reconciling.look()
        clock.now += GRACE_SECONDS - 0.1
        broker.hold("job", 0)
        reconciling.look()
        clock.now += GRACE_SECONDS
    assert broker.sent == []


def test_a_sealed_partition_is_done_whoever_still_holds_it(reconciler: Make, broker: FakeBroker) -> None:
    broker.hold("job", 0)
    reconciler(sealed=[0, 1, 2]).look()
    assert broker.sent == [3]


def test_of_a_build_that_was_trained_the_missing_shards_are_asked_for_and_then_the_merge(
    reconciler: Make, broker: FakeBroker, clock: Clock
) -> None:
    reconciling = reconciler(sealed=[0, 1, 2, 3])
    job = open_job(JobDir(Path(reconciling.look().progress.job)))
    broker.take(MERGE_QUEUE)
    broker.lose("job", MERGE)
    name, seals = "0001-ab12cd34", list(ledger.sealed(job))
    rows = sum(seal.embedded for seal in seals)
    claim = {"digest": builds.ledger_digest(seals), "shards": even_ranges(rows, 3), "wish": IndexRequest().to_json()}
    files.write_bytes(job.build_dir(name) / builds.CLAIM_FILE, (json.dumps(claim, indent=2) + "\n").encode())
    files.write_bytes(job.build_dir(name) / TRAINED_FILE, b"trained")
    files.write_bytes(job.build_dir(name) / shard_file(1), b"full")
    for _ in range(5):
        clock.now += GRACE_SECONDS
        look = reconciling.look()
    assert look.progress.filling is not None
    assert look.progress.to_json()["filling"] == {"build": name, "shards": 3, "full": 1}
    assert broker.sent == [MERGE, "shard 0", "shard 2"]
    assert broker.shown[1:] == ["job shard 0 of 0-2", "job shard 2 of 0-2"]
    broker.queues[MERGE_QUEUE].clear()
    broker.hold("job", shard_lease(2))
    reconciling.look()
    clock.now += GRACE_SECONDS
    reconciling.look()
    assert broker.sent[3:] == ["shard 0"], "the one that nobody holds is sent again"
    files.write_bytes(job.build_dir(name) / shard_file(0), b"full")
    files.write_bytes(job.build_dir(name) / shard_file(2), b"full")
    broker.lose("job", shard_lease(2))
    reconciling.look()
    clock.now += GRACE_SECONDS
    reconciling.look()
    assert broker.sent[4:] == [MERGE]


def test_when_all_is_sealed_the_merge_is_asked_for_once(reconciler: Make, broker: FakeBroker, clock: Clock) -> None:
    reconciling = reconciler(sealed=[0, 1, 2, 3])
    for _ in range(10):
        look = reconciling.look()
        clock.now += GRACE_SECONDS
    assert look.progress.complete
    assert broker.sent == [MERGE]
    assert broker.shown == ["job merge"]
    broker.take(MERGE_QUEUE, "merge1@here")
    for _ in range(10):
        reconciling.look()
        clock.now += GRACE_SECONDS
    assert broker.sent == [MERGE]
    broker.lose("job", MERGE)
    reconciling.look()
    assert broker.sent == [MERGE]
    clock.now += GRACE_SECONDS
    reconciling.look()
    assert broker.sent == [MERGE, MERGE]


def test_before_the_merge_the_altered_copies_are_asked_for_once(
    reconciler: Make, broker: FakeBroker, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconciling = reconciler(sealed=[0, 1, 2, 3], has_copies=False)
    monkeypatch.setattr(reconciling, "others_consume", lambda queue, troubled: True)
    for _ in range(30):  # However long the one worker that there is has other things to do.
        look = reconciling.look()
        clock.now += GRACE_SECONDS
    assert look.progress.complete
    assert not look.progress.copies_done
    assert (broker.sent, broker.shown) == ([COPIES], ["job copies"])
    (raw,) = broker.queues[EMBED_QUEUE]
    assert EmbedCopies.from_json(json.loads(base64.b64decode(json.loads(raw)["body"]))[0][0]) == EmbedCopies(
        "job", IDENTITY
    )
    broker.take(EMBED_QUEUE)
    for _ in range(30):
        reconciling.look()
        clock.now += GRACE_SECONDS
    assert broker.sent == [COPIES]
    broker.lose("job", COPIES)  # Its worker has died.
    for passed, expected in ((0.0, []), (GRACE_SECONDS, [COPIES])):
        broker.taken()
        clock.now += passed
        reconciling.look()
        assert broker.sent == expected, passed
    job = JobDir.at(tmp_path / "job")
    without_copies(open_job(job))
    reconciling.look()
    clock.now += GRACE_SECONDS
    assert reconciling.look().progress.copies_done
    assert broker.sent == [COPIES, MERGE]


def test_where_nobody_embeds_any_more_the_merge_does_not_wait_for_copies(
    reconciler: Make, broker: FakeBroker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconciling = reconciler(sealed=[0, 1, 2, 3], has_copies=False)
    asked: list[tuple[str, set[str]]] = []

    def nobody(queue: str, troubled: set[str]) -> bool:
        asked.append((queue, troubled))
        return False

    monkeypatch.setattr(reconciling, "others_consume", nobody)
    reconciling.look()
    reconciling.look()
    clock.now += COPIES_SECONDS - 1
    reconciling.look()
    assert broker.taken() == [COPIES]
    assert asked == [], "the question takes a second and a half, so it is not for every look"
    clock.now += 1
    for _ in range(3):
        reconciling.look()
        clock.now += GRACE_SECONDS
    assert asked[0] == (EMBED_QUEUE, set())
    assert broker.taken() == [MERGE]


def test_copies_that_another_job_waits_for_are_not_ours(reconciler: Make, broker: FakeBroker) -> None:
    broker.send_task("lookalike.embed_copies", [EmbedCopies("other").to_json()], "", ignore_result=True, retry=False)
    broker.taken()
    reconciler(sealed=[0, 1, 2, 3], has_copies=False).look()
    assert broker.sent == [COPIES]


def test_a_build_that_was_refused_is_not_asked_for_again(
    reconciler: Make, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconciling = reconciler(sealed=[0, 1, 2, 3], has_copies=False)
    info = IndexInfo(
        build="0002-ab12cd34", type="Flat", factory="Flat", ntotal=100, dim=16, fingerprint="", ledger_digest="",
        nlist=0, nprobe=0, m=0, nbits=0, rerank_depth=200, recall_at_10=1.0, recall_queries=50, p50_ms=0.25,
        p99_ms=0.5, seconds={}, built_at=0.0, files={}, refused="It is worse.",
    )  # fmt: skip
    monkeypatch.setattr(builds, "refused_build", lambda job, digest, request: info)
    assert reconciling.look().progress.refused is info
    assert broker.sent == []


def test_a_merge_that_another_job_waits_for_is_not_ours(reconciler: Make, broker: FakeBroker) -> None:
    broker.send_task("lookalike.merge_job", [MergeJob("other").to_json()], "", ignore_result=True, retry=False)
    broker.taken()
    reconciler(sealed=[0, 1, 2, 3]).look()
    assert broker.sent == [MERGE]


def test_nothing_is_asked_for_when_the_index_covers_all(tmp_path: Path, broker: FakeBroker, clock: Clock) -> None:
    made = make_job(tmp_path / "job")
    reader = ProgressReader(made.job)
    reconciling = Reconciler(broker, broker, reader, clock)  # type: ignore[arg-type]
    build(made.job)
    assert reconciling.look().progress.index_is_current
    assert broker.sent == []
    # A partition embedded again makes the index old.
    shown = json.loads(made.job.seal(0).read_text())
    shown["files"]["img_emb/img_emb_0000.npy"]["sha256"] = "f" * 64
    made.job.seal(0).write_text(json.dumps(shown))
    again = Reconciler(broker, broker, ProgressReader(made.job), clock)  # type: ignore[arg-type]
    assert not again.look().progress.index_is_current
    assert broker.taken() == [COPIES], "those of the embeddings that were are of no use"
    without_copies(made.job)
    assert again.look().progress.copies_done
    clock.now += GRACE_SECONDS
    again.look()
    assert broker.sent == [MERGE]
    assert builds.ledger_digest(ledger.sealed(made.job))


@pytest.mark.parametrize(
    "error",
    [redis.exceptions.ConnectionError("refused"), redis.exceptions.TimeoutError("slow"), ConnectionResetError("reset"),
     kombu.exceptions.OperationalError("gone"), redis.exceptions.ResponseError("LOADING")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_a_broker_that_is_away_is_waited_for(
    reconciler: Make, broker: FakeBroker, clock: Clock, error: Exception
) -> None:
    reconciling = reconciler(sealed=[0])
    broker.away = error
    for _ in range(3):
        look = reconciling.look()
        assert look.broker_error == str(error)
        assert look.progress.done == 25
        clock.now += GRACE_SECONDS
    assert broker.sent == []
    broker.away = None
    assert reconciling.look().broker_error is None
    assert broker.sent == [1, 2, 3]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (redis.exceptions.NoPermissionError("no permissions to run 'scan'"), "its user lacks a permission"),
        (kombu.exceptions.OperationalError("READONLY You can't write"), "it is a replica"),
    ],
)
def test_a_broker_that_refuses_for_good_is_not_waited_for(
    reconciler: Make, broker: FakeBroker, error: Exception, reason: str
) -> None:
    broker.away = error
    with pytest.raises(BrokerRefuses, match=reason):
        reconciler().look()


def test_a_broker_that_goes_away_while_messages_are_sent_gets_the_rest_later(
    reconciler: Make, broker: FakeBroker
) -> None:
    reconciling = reconciler()
    broker.fails_after = 2
    assert reconciling.look().broker_error == "Connection refused."
    broker.fails_after = None
    assert reconciling.look().broker_error is None
    assert broker.sent == [0, 1, 2, 3]


def test_a_broker_that_comes_back_empty_is_filled_again(reconciler: Make, broker: FakeBroker, clock: Clock) -> None:
    reconciling = reconciler()
    reconciling.look()
    broker.take(EMBED_QUEUE)
    broker.taken()
    broker.queues.clear()
    broker.keys.clear()
    reconciling.look()
    broker.hold("job", 0)  # The worker lives on, and takes its lease again at its next beat.
    clock.now += GRACE_SECONDS
    reconciling.look()
    assert broker.sent == [1, 2, 3]


def test_troubles_of_the_workers_are_in_the_look(reconciler: Make, broker: FakeBroker) -> None:
    broker.hashes = {
        f"lookalike:trouble:job:{IDENTITY}": {"embed1@here": "The disk is full.", "embed0@here": "No weights."},
        f"lookalike:trouble-times:job:{IDENTITY}": {"embed1@here": "2"},
        "lookalike:trouble:job": {"embed2@here": "It speaks another version."},
        "lookalike:trouble:other": {"embed9@here": "Not ours."},
        f"lookalike:trouble:job:{OTHER}": {"embed8@here": "Not ours."},
    }
    found = [(trouble.owner, trouble.sentence, trouble.times) for trouble in reconciler().look().troubles]
    assert found == [
        ("embed0@here", "No weights.", 1),
        ("embed1@here", "The disk is full.", 2),
        ("embed2@here", "It speaks another version.", 1),
    ]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (None, False),
        ({"embed1@a": [{"name": EMBED_QUEUE}]}, False),
        ({"embed1@a": [{"name": EMBED_QUEUE}], "merge@a": [{"name": MERGE_QUEUE}]}, False),
        ({"embed1@a": [{"name": EMBED_QUEUE}], "all@b": [{"name": MERGE_QUEUE}, {"name": EMBED_QUEUE}]}, True),
    ],
)
def test_only_an_untroubled_worker_of_the_same_queue_counts_as_another(
    reconciler: Make, broker: FakeBroker, nodes: dict[str, Any] | None, expected: bool
) -> None:
    broker.nodes = nodes
    assert reconciler().others_consume(EMBED_QUEUE, {"embed1@a"}) is expected


def test_a_worker_that_does_not_answer_at_once_is_asked_again(reconciler: Make, broker: FakeBroker) -> None:
    said: list[Any] = [None, {"all@b": [{"name": EMBED_QUEUE}]}, ConnectionError("gone"), {}, None]

    def next_said() -> Any:
        if isinstance(answer := said.pop(0), Exception):
            raise answer
        return answer

    broker.control = SimpleNamespace(inspect=lambda timeout: SimpleNamespace(active_queues=next_said))
    assert reconciler().others_consume(EMBED_QUEUE, {"embed1@a"})
    assert not reconciler().others_consume(EMBED_QUEUE, {"embed1@a"})
    assert said == [None], "twice, and no more"


def test_features_that_are_lacking_are_asked_for_once_the_index_is_there(
    reconciler: Make, broker: FakeBroker, clock: Clock
) -> None:
    reconciling = reconciler(sealed=[0, 1, 2, 3])
    job = JobDir(Path(reconciling.look().progress.job))
    want_features(job)
    broker.taken()
    clock.now += GRACE_SECONDS
    reconciling.look()
    assert broker.taken() in ([MERGE], [])
    build(open_job(job))
    reconciling.look()
    clock.now += GRACE_SECONDS
    reconciling.look()
    assert broker.taken() == [0, 1, 2, 3]
    broker.take(EMBED_QUEUE, "embed1@here")
    clock.now += GRACE_SECONDS
    reconciling.look()
    assert broker.taken() == [], "one is held, and the others wait"
