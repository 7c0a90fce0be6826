"""Who takes queries says so again and again, and is forgotten when it stops."""

from typing import Any

import redis

from shared.broker.holders import announce, announced


class FakeRedis:
    """Sets and keys that expire when the test says so."""

    def __init__(self) -> None:
        self.members: set[str] = set()
        self.keys: dict[str, int] = {}

    def pipeline(self, transaction: bool) -> "FakeRedis":
        return self

    def __enter__(self) -> "FakeRedis":
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def execute(self) -> None:
        pass

    def sadd(self, name: str, member: str) -> None:
        self.members.add(member)

    def set(self, key: str, value: str, px: int) -> None:
        self.keys[key] = px

    def smembers(self, name: str) -> Any:
        return self.members

    def mget(self, keys: list[str]) -> list[Any]:
        assert keys, "Redis refuses MGET without a key"
        return [self.keys.get(key) for key in keys]


def test_a_broker_that_forbids_to_ask_knows_none() -> None:
    class Forbids(FakeRedis):
        def smembers(self, name: str) -> Any:
            raise redis.exceptions.NoPermissionError("NOPERM")

    client: Any = Forbids()
    assert announced(client) == []


def test_a_queue_is_known_as_long_as_a_worker_says_that_it_takes_it() -> None:
    client: Any = FakeRedis()
    assert announced(client) == []
    announce(client, "query.shards-4-", 20)
    announce(client, "query", 20)
    announce(client, "query", 20)
    assert announced(client) == ["query", "query.shards-4-"]
    assert set(client.keys.values()) == {20_000}
    del client.keys["lookalike:query-queue:query"]
    assert announced(client) == ["query.shards-4-"]
