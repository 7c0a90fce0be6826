import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kombu.exceptions
import numpy as np
import pytest
import redis
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeout

from coordinator.client import sent_queries, shard_queries
from coordinator.client.client import Client
from shared.errors import (
    BrokerRefuses,
    BrokerUnreachable,
    CorruptFile,
    ImageError,
    JobError,
    LookalikeError,
    MessageError,
    ModelError,
    NoIndexYet,
    NoWorker,
    QueryError,
    ReplyTimeout,
    SettingsError,
    StoreError,
    UsageError,
    WorkerFailed,
)
from shared.job.directory import JobDir
from shared.messages.finer import Finer, Refined
from shared.messages.query import Query
from shared.messages.search import Answer, AnsweredBy, Hit, SearchJob, reply_to_json
from shared.messages.tasks import QUERY_QUEUE, SEARCH_TASK
from shared.messages.verified import Verified, Verify
from tests.support.make_job import make_job

URL = "redis://:secret@host:6379/0"


class FakeResult:
    """What Celery gives for a task: `outcomes` are returned or raised one after the other, the last for ever."""

    def __init__(self, outcomes: list[Any]) -> None:
        self.id = f"task-{id(self)}"
        self.outcomes = outcomes
        self.forgotten = 0
        self.timeouts: list[float] = []
        self.is_there = False

    def ready(self) -> bool:
        return self.is_there

    def get(self, timeout: float) -> Any:
        self.timeouts.append(timeout)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def forget(self) -> None:
        self.forgotten += 1


class FakeApp:
    """Celery as the client sees it: tasks go to `worker`, whose outcomes the results carry."""

    def __init__(self) -> None:
        self.messages: list[SearchJob] = []
        self.results: list[FakeResult] = []
        self.failures: list[Exception] = []
        self.queues: dict[str, list[dict[str, str]]] = {"query1@here": [{"name": QUERY_QUEUE}]}
        self.waiting: set[str] = set()
        self.lost: set[str] = set()
        self.worker: Callable[[SearchJob], list[Any]] = lambda message: [reply_to_json(answers(message))]
        self.closed = False
        self.control = self

    def send_task(self, name: str, args: list[Any], argsrepr: str, retry: bool, expires: float) -> FakeResult:
        assert (name, retry) == (SEARCH_TASK, False)
        assert expires > 0
        if self.failures:
            raise self.failures.pop(0)
        message = SearchJob.from_json(json.loads(json.dumps(args[0])))
        self.messages.append(message)
        assert argsrepr == f"job {len(message.queries)} queries, k={message.k}"
        self.results.append(FakeResult(self.worker(message)))
        return self.results[-1]

    def inspect(self, timeout: float, destination: list[str] | None = None, limit: int | None = None) -> "FakeApp":
        return self

    def active_queues(self) -> dict[str, list[dict[str, str]]]:
        return self.queues

    def close(self) -> None:
        self.closed = True


def answers(message: SearchJob) -> list[Answer]:
    """An answer for each query whose one hit tells which query it was."""
    found = []
    for query in message.queries:
        number = int(query.vector[0]) if query.vector is not None else len(query.image or b"")
        found.append(Answer((Hit(1, number, f"{number}.jpg", 1.0),), 2.5))
    return found


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeApp:
    fake = FakeApp()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("coordinator.client.client.make_app", lambda settings: fake)
    monkeypatch.setattr("coordinator.client.client.require_broker", lambda settings: None)
    monkeypatch.setattr(sent_queries, "connect", lambda settings: nullcontext())
    monkeypatch.setattr(sent_queries, "queued_tasks", lambda redis, queue: list(fake.waiting))
    monkeypatch.setattr(sent_queries, "is_lost", lambda app, settings, task, queue: task in fake.lost)
    monkeypatch.setattr(shard_queries, "connect", lambda settings: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(shard_queries, "announced", lambda redis: [QUERY_QUEUE])
    return fake


@pytest.fixture
def client(app: FakeApp) -> Client:
    return Client("job", URL)


def vector(number: int) -> np.ndarray:
    return np.array([number, 1, 2], np.float32)


# Which job, which broker.


def test_a_job_is_given_by_its_id_or_its_directory(app: FakeApp, tmp_path: Path) -> None:
    assert Client("job", URL).job_id == "job"
    assert Client(tmp_path / "jobs" / "job", URL).job_id == "job"
    assert Client(f"{tmp_path}/jobs/job/", URL).job_id == "job"
    assert Client("my job", URL).job_id == Client(f"{tmp_path}/my job", URL).job_id == "my job"
    for bad in ("..", "", "my:job", f"{tmp_path}/my:job"):
        with pytest.raises(JobError, match="can't name a job"):
            Client(bad, URL)


def test_a_job_that_is_here_is_meant_and_no_other_of_its_name(app: FakeApp, tmp_path: Path) -> None:
    made = make_job(tmp_path / "root" / "job", listed=2, sealed=[])
    for given, identity in (
        (made.job.path, made.job.manifest.identity),
        (f"{made.job.path}/", made.job.manifest.identity),
        ("job", None),
        (tmp_path / "elsewhere" / "job", None),
    ):
        with Client(given, URL) as client:
            client.enqueue([vector(1)])
            assert (client.identity, app.messages[-1].identity) == (identity, identity)
    made.job.spec.write_text("{")
    with pytest.raises(CorruptFile, match="not a whole manifest"):
        Client(made.job.path, URL)


@pytest.mark.parametrize(
    "error", [StoreError("No access.", refused=True), PermissionError(13, "no"), UsageError("No library.")], ids=repr
)
def test_a_client_needs_no_access_to_the_job(
    app: FakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(job: JobDir) -> None:
        raise error

    made = make_job(tmp_path / "job", listed=2, sealed=[])
    monkeypatch.setattr("coordinator.client.queries.load_manifest", fail)
    assert Client(made.job.path, URL).identity is None


def test_a_reply_tells_which_job_answered(client: Client, app: FakeApp) -> None:
    by = AnsweredBy("query1@gpu0", "/mnt/b/job")
    app.worker = lambda message: [reply_to_json(answers(message), by)]
    first, second = client.enqueue([vector(1), vector(2)])
    assert first.answered_by is None, "nobody has awaited it"
    assert first.result()[0].id == 1
    assert (first.answered_by, second.answered_by) == (by, by)


def test_without_a_broker_there_is_no_client() -> None:
    with pytest.raises(SettingsError, match="No broker is set"):
        Client("job")


def test_the_settings_name_the_broker(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str | None] = []
    monkeypatch.setattr("coordinator.client.client.require_broker", lambda settings: given.append(settings.broker_url))
    monkeypatch.setenv("REDIS_URL", "redis://environment")
    Client("job")
    Client("job", "redis://argument")
    assert given == ["redis://environment", "redis://argument"]


# Sending and grouping.


def test_each_query_finds_its_own_answer(client: Client, app: FakeApp) -> None:
    replies = client.enqueue([vector(number) for number in range(200)], k=7)
    assert [len(message.queries) for message in app.messages] == [64, 64, 64, 8]
    assert {(message.job, message.k, message.exact) for message in app.messages} == {("job", 7, False)}
    assert [reply.result()[0].id for reply in reversed(replies)] == list(reversed(range(200)))
    assert [len(result.timeouts) for result in app.results] == [1, 1, 1, 1]
    assert [result.forgotten for result in app.results] == [1, 1, 1, 1]
    assert replies[3].answer().milliseconds == 2.5
    assert replies[3].result() == [Hit(1, 3, "3.jpg", 1.0)]


def test_images_share_a_task_while_they_are_small(client: Client, app: FakeApp) -> None:
    mib = 1 << 20
    sizes = [3 * mib, mib, 1, 9 * mib, 1, 4 * mib, 10, 10]
    replies = client.enqueue([bytes(size) for size in sizes])
    carried = [[len(query.image or b"") for query in message.queries] for message in app.messages]
    assert carried == [[3 * mib, mib], [1], [9 * mib], [1], [4 * mib], [10, 10]]
    assert [reply.result()[0].id for reply in replies] == sizes


def test_a_task_carries_no_more_queries_than_workers_are_set_to_take(
    app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_MAX_QUERIES", "3")
    Client("job", URL).enqueue([vector(number) for number in range(7)])
    assert [len(message.queries) for message in app.messages] == [3, 3, 1]


def test_no_queries_are_no_task(client: Client, app: FakeApp) -> None:
    assert client.enqueue([]) == []
    assert app.messages == []


def test_search_is_one_query_and_its_hits(client: Client, app: FakeApp) -> None:
    assert client.search(vector(9), k=3, exact=True) == [Hit(1, 9, "9.jpg", 1.0)]
    assert (app.messages[0].k, app.messages[0].exact) == (3, True)


@pytest.mark.parametrize("k", [0, -1, 1_001, 2.5, "10", True, None])
def test_a_k_out_of_range_is_not_sent(client: Client, app: FakeApp, k: Any) -> None:
    with pytest.raises(QueryError, match="a search gives 1 to 1000 hits"):
        client.enqueue([vector(1)], k=k)
    assert app.messages == []


def test_one_bad_query_sends_none(client: Client, app: FakeApp) -> None:
    with pytest.raises(ImageError):
        client.enqueue([vector(1), "gone.jpg"])
    assert app.messages == []


# Errors.


@pytest.mark.parametrize(
    "error", [QueryError("It has 3 dimensions."), ImageError("It is cut short."), NoIndexYet("None yet.")]
)
def test_what_kept_a_query_from_its_hits_is_raised_for_that_query_alone(
    client: Client, app: FakeApp, error: LookalikeError
) -> None:
    app.worker = lambda message: [reply_to_json([*answers(message)[:1], Answer(error=error), *answers(message)[2:]])]
    replies = client.enqueue([vector(number) for number in range(3)])
    for _ in range(2):
        with pytest.raises(type(error), match=str(error)):
            replies[1].result()
    assert [replies[number].result()[0].id for number in (0, 2)] == [0, 2]


def test_a_connection_that_was_dropped_is_made_anew_once(client: Client, app: FakeApp) -> None:
    app.failures = [kombu.exceptions.OperationalError("dropped")]
    assert client.search(vector(4))[0].id == 4
    app.failures = [redis.exceptions.ConnectionError("down"), ConnectionRefusedError("still down")]
    with pytest.raises(BrokerUnreachable, match=r"redis://\*\*@host:6379/0 does not answer \(still down\)") as raised:
        client.search(vector(4))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("sent", [True, False])
def test_a_client_is_told_what_its_broker_will_never_do(client: Client, app: FakeApp, sent: bool) -> None:
    error = redis.exceptions.NoPermissionError("User pw has no permissions to run the 'lpush' command")
    app.worker = lambda message: [error]
    app.failures = [] if sent else [error, error]
    with pytest.raises(BrokerRefuses, match=r"redis://\*\*@host:6379/0 can't be used: its user lacks .*'lpush'"):
        client.search(vector(1))


def test_a_broker_that_goes_away_while_we_wait_is_named(client: Client, app: FakeApp) -> None:
    app.worker = lambda message: [redis.exceptions.ConnectionError("gone")]
    with pytest.raises(BrokerUnreachable, match=r"does not answer \(gone\)"):
        client.search(vector(1))


def test_when_nobody_takes_the_message_there_is_no_worker(client: Client, app: FakeApp) -> None:
    app.worker = lambda message: [CeleryTimeout()]
    app.queues = {"embed1@here": [{"name": "embed"}]}
    (reply,) = client.enqueue([vector(1)])
    app.waiting = {app.results[0].id}
    with pytest.raises(NoWorker, match=r"No query worker runs behind redis://\*\*@host:6379/0: start one with"):
        reply.result(timeout=100)
    assert len(app.results[0].timeouts) < 5


def test_a_query_that_was_lost_with_its_worker_is_told_long_before_the_timeout(client: Client, app: FakeApp) -> None:
    app.worker = lambda message: [CeleryTimeout()]
    (reply,) = client.enqueue([vector(1)])
    app.lost = {app.results[0].id}
    with pytest.raises(WorkerFailed, match="The query worker that took these queries ended, or was cut off"):
        reply.result(timeout=100)
    assert len(app.results[0].timeouts) == 1


def test_a_reply_that_came_meanwhile_is_not_lost(client: Client, app: FakeApp) -> None:
    app.worker = lambda message: [CeleryTimeout(), reply_to_json(answers(message))]
    (reply,) = client.enqueue([vector(6)])
    app.lost, app.results[0].is_there = {app.results[0].id}, True
    assert reply.result(timeout=60)[0].id == 6


def test_a_worker_that_is_too_slow_is_not_a_missing_one(client: Client, app: FakeApp) -> None:
    app.worker = lambda message: [CeleryTimeout()]
    (reply,) = client.enqueue([vector(1)])
    for waiting, queues in ((True, app.queues), (False, {})):  # It answers, or it has the message and is busy.
        app.waiting, app.queues = {app.results[0].id} if waiting else set(), queues
        with pytest.raises(ReplyTimeout, match=r"did not come within 0\.05 s"):
            reply.result(timeout=0.05)


def test_a_late_reply_is_awaited_again(client: Client, app: FakeApp) -> None:
    app.worker = lambda message: [CeleryTimeout(), reply_to_json(answers(message))]
    (reply,) = client.enqueue([vector(6)])
    with pytest.raises(ReplyTimeout):
        reply.result(timeout=0.01)
    assert reply.result(timeout=0.01)[0].id == 6


def test_a_slow_first_answer_is_waited_for_as_long_as_a_worker_is_there(client: Client, app: FakeApp) -> None:
    app.worker = lambda message: [CeleryTimeout(), CeleryTimeout(), reply_to_json(answers(message))]
    (reply,) = client.enqueue([vector(6)])
    app.waiting = {app.results[0].id}
    assert reply.result(timeout=60)[0].id == 6


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), TaskRevokedError("revoked")])
def test_a_task_that_failed_says_so(client: Client, app: FakeApp, error: Exception) -> None:
    app.worker = lambda message: [error]
    with pytest.raises(WorkerFailed, match=f"The query worker failed: {error}"):
        client.search(vector(1))


@pytest.mark.parametrize("reply", [None, [], {"version": 2, "answers": []}, {"version": 1, "answers": [5]}])
def test_a_reply_of_another_version_is_refused(client: Client, app: FakeApp, reply: Any) -> None:
    app.worker = lambda message: [reply]
    with pytest.raises(MessageError):
        client.search(vector(1))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_reply_with_another_number_of_answers_is_refused(client: Client, app: FakeApp, count: int) -> None:
    app.worker = lambda message: [reply_to_json([Answer()] * count)]
    with pytest.raises(MessageError, match=f"gave {count} answers to 2 queries"):
        client.enqueue([vector(1), vector(2)])[1].result()


@pytest.mark.parametrize(
    ("queues", "expected"),
    [
        (None, False),
        ({}, False),
        ({"a@b": []}, False),
        ({"a@b": [{"name": "embed"}]}, False),
        ({"a@b": [{"name": "embed"}], "c@d": [{"name": "merge"}, {"name": "query"}]}, True),
    ],
)
def test_a_worker_is_one_that_consumes_the_query_queue(
    client: Client, app: FakeApp, queues: Any, expected: bool
) -> None:
    app.queues = queues
    assert client.has_worker() is expected


def test_a_worker_that_ends_with_another_command_does_not_count(client: Client, app: FakeApp) -> None:
    app.queues = {"own-query1-7@here": [{"name": "query"}]}
    assert client.has_worker()
    assert not client.has_worker(passing=("own-",))
    app.queues["query@here"] = [{"name": "query"}]
    assert client.has_worker(passing=("own-",))


def test_a_client_that_is_closed_gives_up_what_is_still_out(app: FakeApp) -> None:
    with Client("job", URL) as client:
        done, out = client.enqueue_queries([Query(vector=vector(1))] * 65)[0::64]
        done.result()
    assert app.closed
    assert [result.forgotten for result in app.results] == [1, 1]
    assert done.result()[0].id == 1
    with pytest.raises(ReplyTimeout, match="given up when its client was closed"):
        out.result()


# Filters.


def test_a_filter_goes_with_each_message(app: FakeApp, client: Client) -> None:
    client.enqueue([vector(number) for number in range(70)], where="width > 5")
    client.search(vector(1), ids=[8, 3, 8])
    client.search(vector(1))
    filters = [message.filter for message in app.messages]
    assert [None if one is None else one.where for one in filters] == ["width > 5", "width > 5", None, None]
    assert filters[2] is not None
    assert filters[2].ids is not None
    assert filters[2].ids.tolist() == [3, 8]
    assert filters[3] is None


def test_what_can_not_be_a_filter_is_not_sent(app: FakeApp, client: Client) -> None:
    with pytest.raises(QueryError, match="just one"):
        client.search(vector(1), ids=[1], where="true")
    with pytest.raises(QueryError, match="0 image ids"):
        client.enqueue([vector(1)], ids=[])
    assert app.messages == []


# Verdicts.


def test_a_plain_search_says_nothing_of_verdicts_and_others_have_a_task_each(app: FakeApp, client: Client) -> None:
    plain = client.enqueue([vector(number) for number in range(9)])
    assert [len(message.queries) for message in app.messages] == [9]
    assert app.messages[0].verify == Verify("never", 1)
    app.messages.clear()
    client.enqueue([vector(number) for number in range(9)], views=6)
    client.enqueue([vector(number) for number in range(9)], verify="always", views=6)
    assert [len(message.queries) for message in app.messages] == [9, *[1] * 9]
    assert [message.verify for message in app.messages] == [Verify("never", 6), *[Verify("always", 6)] * 9]
    assert plain[0].answer().verified is None
    assert plain[0].verified is None


def test_a_search_by_a_finer_model_has_a_task_of_its_own_and_the_reply_says_what_it_compared(
    app: FakeApp, client: Client
) -> None:
    told = Refined("efficientnet-b7@1", 9, 9)
    by = AnsweredBy("query1@here", "/jobs/job")
    app.worker = lambda message: [reply_to_json([Answer((), 1.0, refined=told)], by)]
    replies = client.enqueue([vector(number) for number in range(3)], finer="efficientnet-b7")
    assert [message.finer for message in app.messages] == [Finer("efficientnet-b7")] * 3
    assert replies[0].answer().refined == replies[0].refined == told
    app.messages.clear()
    with pytest.raises(ModelError, match="There is no model"):
        client.search(vector(1), finer="efficientnet-b77")
    assert app.messages == []


@pytest.mark.parametrize(("how", "views"), [("perhaps", 1), ("auto", 0), ("auto", 17)])
def test_a_search_that_can_not_be_verified_so_is_not_sent(app: FakeApp, client: Client, how: str, views: int) -> None:
    with pytest.raises(QueryError, match=r"verify is|views is"):
        client.search(vector(1), verify=how, views=views)
    assert app.messages == []


def test_a_reply_says_what_was_compared(app: FakeApp, client: Client) -> None:
    told = Verified(9, 4, ended="enough")
    by = AnsweredBy("query1@here", "/jobs/job")
    app.worker = lambda message: [reply_to_json([Answer((), 1.0, verified=told)], by)]
    (reply,) = client.enqueue([vector(1)], verify="auto")
    assert reply.answer().verified == reply.verified == told


def test_a_worker_of_an_older_version_is_told_from_one_that_refuses_a_message(app: FakeApp, client: Client) -> None:
    names = "['exact', 'job', 'k', 'queries']"
    older = f"A search message must hold {names}, not ['exact', 'job', 'k', 'queries', 'verify', 'views']."
    said_of_it = "worker is of an older version of lookalike, which gives no verdicts"
    coarser = "A search message must hold ['exact', 'job'], not ['exact', 'finer', 'job', 'verify']."
    for sentence, said in ((older, said_of_it), (coarser, "which runs no finer model"), ("No.", "No.")):
        app.worker = lambda message, sentence=sentence: [reply_to_json([Answer(error=MessageError(sentence))])]
        with pytest.raises(MessageError, match=said):
            client.search(vector(1), verify="auto", views=6)
