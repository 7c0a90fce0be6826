"""Hostile messages against one real worker of all roles: each is refused, and the next right one is done."""

import base64
import copy
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from coordinator.client.client import Client
from shared.broker.connection import make_app
from shared.broker.troubles import clear_troubles, reported_troubles
from shared.errors import ImageError, JobError, LookalikeError, MessageError, NoIndexYet, QueryError
from shared.job.directory import JobDir
from shared.messages.query import Query
from shared.messages.search import SearchJob, reply_from_json
from shared.messages.tasks import (
    EMBED_QUEUE,
    EMBED_TASK,
    MERGE_QUEUE,
    MERGE_TASK,
    QUERY_QUEUE,
    SEARCH_TASK,
    EmbedPartition,
)
from shared.settings import Settings
from tests.integration.faults.bench import is_ready
from tests.integration.faults.faults import Faults
from tests.support.processes import (
    LOOKALIKE,
    PATIENCE_SECONDS,
    QUICK,
    Process,
    environment,
    free_port,
    redis_server,
    valkey_binary,
    wait_until,
)

pytestmark = pytest.mark.timeout(600)

SHORT = Query(vector=np.ones(3, np.float32)).to_json()
TASKS = {QUERY_QUEUE: SEARCH_TASK, EMBED_QUEUE: EMBED_TASK, MERGE_QUEUE: MERGE_TASK}


class Target:
    """One worker of all roles with its broker, and what came of it."""

    def __init__(self, url: str, job: JobDir, photos: Path, worker: Process) -> None:
        self.url, self.job, self.photos, self.worker = url, job, photos, worker
        self.redis = redis.Redis.from_url(url)
        self.app = make_app(Settings(broker_url=url))
        self._seen = 0

    def push(self, queue: str, *entries: bytes | str) -> None:
        self.redis.lpush(queue, *entries)

    def answers(self, table: Any) -> list[LookalikeError | None]:
        reply = self.app.send_task(SEARCH_TASK, args=[table]).get(timeout=PATIENCE_SECONDS)
        return [answer.error for answer in reply_from_json(reply)]

    def lines(self) -> list[str]:
        """What the worker has logged since this was last asked."""
        lines = self.worker.output.splitlines()
        fresh, self._seen = lines[self._seen :], len(lines)
        return fresh

    def said(self, text: str) -> None:
        wait_until(lambda: text in self.worker.output, f"the worker says {text!r}")

    def is_well(self) -> list[str]:
        """All queues are empty, the same worker answers a right query, and its log has short lines and no traceback."""
        wait_until(lambda: not any(self.redis.llen(queue) for queue in TASKS), "the queues are empty")
        wait_until(lambda: not self.redis.hlen("unacked"), "no message is held")
        with Client(self.job.path, self.url) as client:
            assert client.search(self.photos / "photo_00003.jpg", k=1, timeout=PATIENCE_SECONDS)[0].id == 3
        assert self.worker.popen.poll() is None
        lines = self.lines()
        assert not [line for line in lines if "Traceback" in line]
        assert max(map(len, lines)) < 700
        assert all(line.isprintable() for line in lines)
        return lines


@pytest.fixture(scope="module")
def target(undisturbed_job: JobDir, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    base, port = tmp_path_factory.mktemp("hostile"), free_port()
    job = JobDir.at(base / "jobs" / "job")
    shutil.copytree(undisturbed_job.path, job.path)
    url = f"redis://127.0.0.1:{port}/0"
    env = environment(LOOKALIKE_BROKER_URL=url, LOOKALIKE_JOBS_ROOT=str(job.jobs_root), **QUICK)
    env["LOOKALIKE_MAX_QUERY_BYTES"] = "1000000"
    env |= Faults(base / "faults").environment(light=True)
    command = [LOOKALIKE, "worker", "embed", "merge", "query", "--name", "target", "--loglevel", "INFO"]
    with redis_server(valkey_binary(), base / "valkey", port):
        worker = Process(command, base / "worker.log", env)
        try:
            wait_until(lambda: is_ready(worker), "the worker is ready")
            found = Target(url, job, photos, worker)
            found.is_well()
            yield found
        finally:
            worker.stop()


def envelope(queue: str = EMBED_QUEUE) -> dict[str, Any]:
    """A message as Celery puts it into a queue, with an id of its own."""
    task_id = os.urandom(8).hex()
    body = [[{"job": "job"}], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    return {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py", "task": TASKS[queue], "id": task_id, "shadow": None, "eta": None, "expires": None,
            "group": None, "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": task_id,
            "parent_id": None, "argsrepr": "job partition 1/1", "kwargsrepr": "{}", "origin": "gen1@host",
            "ignore_result": True, "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
        },
        "properties": {
            "correlation_id": task_id, "reply_to": task_id, "delivery_mode": 2, "priority": 0,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "body_encoding": "base64", "delivery_tag": task_id,
        },
    }  # fmt: skip


def search_table(**changes: Any) -> dict[str, Any]:
    return SearchJob("job", (Query(vector=np.ones(1280, np.float32)),)).to_json() | changes


def test_list_entries_that_are_no_envelopes_are_dropped(target: Target) -> None:
    noise = random.Random(7)
    for queue in TASKS:
        target.push(queue, *(noise.randbytes(noise.randrange(1, 400)) for _ in range(20)))
        target.push(queue, b"", b"\0", b"not json", b"[]", b"null", b"5", b'"x"', b"{}", b"NaN", b'{"a":1}')
        target.push(queue, b"[" * 100_000, b'{"body":' * 50_000, b'{"__type__":"datetime","__value__":5}')
    lines = target.is_well()
    assert sum("Refused" in line for line in lines) == 33 * len(TASKS)


STRANGE: list[Any] = [
    *(None, 5, -1, 1.5, True, "", "text", "x" * 5_000, [], [1], ["a", {}], {}, {"a": 1}, 10**30),
    *({"__type__": "datetime", "__value__": 5}, "\x00\x1b[31m\n", {"a": [[[[{}]]]]}),
]


def places(table: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if path:
        yield path
    if isinstance(table, dict):
        for key, value in table.items():
            yield from places(value, (*path, key))


@pytest.mark.parametrize("queue", [EMBED_QUEUE, QUERY_QUEUE])
def test_wrong_types_at_every_place_of_an_envelope_are_refused(target: Target, queue: str) -> None:
    for path in places(envelope(queue)):
        for value in STRANGE:
            message = envelope(queue)
            place = message
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = copy.deepcopy(value)
            target.push(queue, json.dumps(message))
        message = envelope(queue)
        place = message
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
        target.push(queue, json.dumps(message))
    assert any("Refused a message in the queue" in line for line in target.is_well())


def test_bodies_of_another_form_are_refused(target: Target) -> None:
    plain = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    bodies = [*STRANGE, *([value, {}, plain] for value in STRANGE), *([[{}], {}, value] for value in STRANGE)]
    bodies += [[[{}], value, plain] for value in STRANGE if value != {}]
    bodies += [[[{}], {}, plain | {key: value}] for key in plain for value in STRANGE if value is not None]
    for body in bodies:
        message = envelope()
        message["body"] = base64.b64encode(json.dumps(body).encode()).decode()
        target.push(EMBED_QUEUE, json.dumps(message))
    for raw in ("%%%%", "A", base64.b64encode(b"\xff\xfe").decode(), base64.b64encode(b"[" * 9_000).decode()):
        target.push(EMBED_QUEUE, json.dumps(envelope() | {"body": raw}))
    lines = target.is_well()
    assert not [line for line in lines if "raised unexpected" in line]
    assert sum("Refused a message" in line for line in lines) == len(bodies) + 4


def test_a_pickle_and_an_unknown_task_and_a_huge_body_are_refused_in_a_line(target: Target) -> None:
    target.push(EMBED_QUEUE, json.dumps(envelope() | {"content-type": "application/x-python-serialize"}))
    message = envelope()
    message["headers"]["task"] = "os.system"
    target.push(EMBED_QUEUE, json.dumps(message), json.dumps(envelope() | {"body": "A" * 1_000_000}))
    log = "\n".join(target.is_well())
    assert "its content type is 'application/x-python-serialize', and only application/json is read" in log
    assert "it asks for the task 'os.system', which is none of this queue" in log
    assert "its body has 1,000,000 characters, and at most 16,384 are read" in log


def test_what_is_published_on_the_control_channel_ends_no_worker(target: Target) -> None:
    rubbish = [b"\0rubbish", b"[]", b"null", b"5", b"{}", b'{"properties":{}}', b"[" * 50_000]
    rubbish.append(b'{"body":"AA","properties":{"body_encoding":"base64","delivery_tag":"x"},"headers":5}')
    for entry in rubbish:
        assert target.redis.publish("/0.celery.pidbox", entry) >= 1
    target.is_well()


@pytest.mark.parametrize(
    ("table", "error", "sentence"),
    [
        (search_table(job="never-made"), JobError, "never-made"),
        (search_table(job="../etc"), MessageError, "can't name a job"),
        (search_table(k=0), MessageError, "k must be a whole number from 1 to 1000"),
        (search_table(k=10**30), MessageError, "k must be a whole number from 1 to 1000"),
        (search_table(version=0), MessageError, "this worker speaks version 1"),
        (search_table(queries=[SHORT] * 5_000), MessageError, "1 to 1024 queries, not 5000"),
        (search_table(queries=[Query(vector=np.full(1280, np.nan, np.float32)).to_json()]), QueryError, "NaN|finite"),
        (search_table(queries=[SHORT]), QueryError, "1,?280"),
        (search_table(queries=[{"vector": "A" * 2_000_000}]), MessageError, "at most 262,144 are read"),
        ([], MessageError, "must be a JSON object"),
        ("text", MessageError, "must be a JSON object"),
    ],
)  # fmt: skip
def test_a_search_that_makes_no_sense_is_answered_with_its_error(
    target: Target, table: Any, error: type[LookalikeError], sentence: str
) -> None:
    (found,) = target.answers(table)
    with pytest.raises(error, match=sentence):
        raise found or AssertionError("It was answered.")
    assert not isinstance(found, NoIndexYet)


def test_a_query_image_that_is_too_large_or_a_bomb_is_refused(target: Target, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    with open(large, "wb") as file:
        file.truncate(200 << 20)  # A hole: it takes no room, and no time unless it is read.
    header = bytes.fromhex("89504e470d0a1a0a0000000d49484452") + (40_000).to_bytes(4, "big") * 2
    bomb = header + bytes.fromhex("0802000000") + bytes(4) + bytes.fromhex("0000000049454e44ae426082")
    with Client(target.job.path, target.url) as client:
        with pytest.raises(ImageError, match="has 209,715,200 bytes; the most is 33,554,432"):
            client.search(large)
        with pytest.raises(ImageError):
            client.search(bomb, timeout=PATIENCE_SECONDS)
    (error,) = target.answers(search_table(queries=[{"image": "A" * 2_000_000}]))
    assert str(error) == "The image of a query has 1,500,000 bytes, and at most 1,000,000 are read."
    target.push(QUERY_QUEUE, json.dumps(envelope(QUERY_QUEUE) | {"body": "A" * 20_000_000}))
    assert any("its body has 20,000,000 characters" in line for line in target.is_well())


def test_embed_and_merge_messages_that_make_no_sense_are_refused_and_the_jobs_coordinator_is_told(
    target: Target,
) -> None:
    client = redis.Redis.from_url(target.url, decode_responses=True)
    good = EmbedPartition("job", 0).to_json()
    for changes in ({"job": "../etc"}, {"job": ["job"]}, {"partition": -1}, {"partition": 10**30}, {"partition": 7}):
        target.app.send_task(EMBED_TASK, args=[good | changes], ignore_result=True)
    target.app.send_task(EMBED_TASK, args=[{"job": "job", "partition": 0}], ignore_result=True)
    target.app.send_task(MERGE_TASK, args=[{"version": 1, "job": "a/../b"}], ignore_result=True)
    target.is_well()
    clear_troubles(client, "job")
    target.app.send_task(EMBED_TASK, args=[good | {"version": 99}], ignore_result=True)
    (trouble,) = wait_until(lambda: reported_troubles(client, "job"), "the trouble is reported")
    assert trouble.owner.startswith("target@")
    assert "An embed message of version 99 came, and this worker speaks version 1" in trouble.sentence
    clear_troubles(client, "job")
    target.is_well()
