"""Read what waits in the queues, and send the tasks of coordinator and workers there."""

import json
from base64 import b64decode
from contextlib import suppress
from typing import Any, Protocol

import redis
from celery import Celery
from kombu.transport.redis import Channel

from shared.messages.duplicates import ComparePairs, FindNeighbours
from shared.messages.tasks import (
    COMPARE_TASK,
    COPIES_TASK,
    EMBED_TASK,
    MERGE_TASK,
    NEIGHBOURS_TASK,
    SHARD_TASK,
    EmbedCopies,
    EmbedPartition,
    FillShard,
    MergeJob,
)
from shared.processes.failpoints import failpoint


def queued_messages(client: redis.Redis, queue: str) -> list[dict[str, Any]]:
    """The first argument of each message that waits for `queue`; those of another form are left out.

    A queue is a Redis list under its own name, each message a JSON envelope with a base64 body, as Celery documents it.
    A worker holds a message that is to be done later, so that message is in kombu's hash of unacknowledged ones.
    """
    found = []
    for envelope in [*_waiting(client, queue), *_delayed(client, queue)]:
        try:
            arguments, *_ = json.loads(b64decode(envelope["body"]))
            found.append(arguments[0])
        except (ValueError, KeyError, TypeError, IndexError):
            continue
    return found


def _waiting(client: redis.Redis, queue: str) -> list[Any]:
    found = []
    for raw in client.lrange(queue, 0, -1):
        with suppress(ValueError):
            found.append(json.loads(raw))
    return found


def _delayed(client: redis.Redis, queue: str) -> list[Any]:
    found = []
    for raw in client.hvals(Channel.unacked_key):
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            envelope, _, routing_key = json.loads(raw)
            if routing_key == queue and envelope["headers"].get("eta"):
                found.append(envelope)
    return found


def queued_tasks(client: redis.Redis, queue: str) -> list[str]:
    """The ids of the tasks whose messages wait in `queue`; those of another form are left out."""
    found = []
    for envelope in _waiting(client, queue):
        with suppress(KeyError, TypeError):
            found.append(str(envelope["headers"]["id"]))
    return found


def held_tasks(client: redis.Redis) -> list[str]:
    """The ids of the tasks whose messages workers hold unacknowledged; those of another form are left out."""
    found = []
    for raw in client.hvals(Channel.unacked_key):
        with suppress(ValueError, KeyError, TypeError):
            envelope, _, _ = json.loads(raw)
            found.append(str(envelope["headers"]["id"]))
    return found


def listeners(client: redis.Redis) -> int | None:
    """How many connections listen, as a worker does, to questions for all workers; None if the broker does not tell.

    A worker has one, which ends with its process, however busy that is.
    """
    try:
        own, clients = client.client_id(), client.client_list()
    except redis.exceptions.ResponseError:  # CLIENT is not among what queues need, and may be forbidden or renamed.
        return None
    by_id = {one.get("id"): one for one in clients}
    if str(own) not in by_id or "psub" not in by_id[str(own)] or "db" not in by_id[str(own)]:
        return None
    # Workers listen to patterns; a client that waits for a reply listens to a channel.
    return sum(one["db"] == by_id[str(own)]["db"] and int(one["psub"]) > 0 for one in clients)


def send_embed(app: Celery, job_id: str, identity: str, partition: int, count: int) -> None:
    """Ask for one partition of the job of that identity. Raises one of CONNECTION_ERRORS when the broker is away."""
    failpoint("send_embed")
    _send(app, EMBED_TASK, EmbedPartition(job_id, partition, identity), f"{job_id} partition {partition + 1}/{count}")


def send_copies(app: Celery, job_id: str, identity: str) -> None:
    """Ask for the altered copies of a job. Raises one of CONNECTION_ERRORS when the broker is away."""
    _send(app, COPIES_TASK, EmbedCopies(job_id, identity), f"{job_id} copies")


def send_merge(app: Celery, job_id: str, identity: str) -> None:
    """Ask for the index of a job. Raises one of CONNECTION_ERRORS when the broker is away."""
    _send(app, MERGE_TASK, MergeJob(job_id, identity), f"{job_id} merge")


def send_shard(app: Celery, job_id: str, identity: str, build: str, shard: int, count: int) -> None:
    """Ask for one of the `count` shards of a build. Raises one of CONNECTION_ERRORS when the broker is away."""
    failpoint("send_shard")
    _send(app, SHARD_TASK, FillShard(job_id, build, shard, identity), f"{job_id} shard {shard} of 0-{count - 1}")


def send_duplicates(app: Celery, message: FindNeighbours | ComparePairs, shown: str) -> None:
    """Ask for a part of the search for duplicates. Raises one of CONNECTION_ERRORS when the broker is away."""
    failpoint("send_duplicates")
    task = NEIGHBOURS_TASK if isinstance(message, FindNeighbours) else COMPARE_TASK
    _send(app, task, message, shown)


class _Message(Protocol):
    def to_json(self) -> dict[str, Any]: ...


def _send(app: Celery, task: str, message: _Message, shown: str) -> None:
    """`shown` is what Flower shows as the task's arguments."""
    app.send_task(task, args=[message.to_json()], argsrepr=shown, ignore_result=True, retry=False)
