"""Which queues of queries there are workers for: each worker tells Redis again and again, or is forgotten."""

from collections.abc import Sequence

import redis

_QUEUES = "lookalike:query-queues"
_PREFIX = "lookalike:query-queue"


def announce(client: redis.Redis, queue: str, seconds: float) -> None:
    """Say that a worker takes the messages of `queue`, for so many seconds. Raises redis.RedisError as Redis does."""
    with client.pipeline(transaction=False) as pipeline:
        pipeline.sadd(_QUEUES, queue)
        pipeline.set(f"{_PREFIX}:{queue}", "1", px=int(seconds * 1000))
        pipeline.execute()


def announced(client: redis.Redis) -> Sequence[str]:
    """The queues of queries that a worker takes messages of, in the order of their names; raises as `announce` does.

    None where the broker forbids to ask.
    """
    try:
        known = sorted(map(str, client.smembers(_QUEUES)))
    except redis.exceptions.ResponseError:  # Sets are not among what queues need.
        return []
    held = client.mget([f"{_PREFIX}:{queue}" for queue in known]) if known else []
    return [queue for queue, value in zip(known, held, strict=True) if value is not None]
