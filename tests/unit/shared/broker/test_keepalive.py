import time
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from shared.broker.keepalive import held_tags, stamp


class Redis:
    """A Redis that remembers which messages were stamped."""

    def __init__(self) -> None:
        self.stamped: list[tuple[str, dict[str, float], bool]] = []

    def zadd(self, key: str, members: dict[str, float], xx: bool) -> None:
        self.stamped.append((key, members, xx))


def test_held_messages_are_stamped_with_the_time_of_now_if_they_are_still_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests = {tag: SimpleNamespace(message=SimpleNamespace(delivery_tag=tag)) for tag in ("a", "b")}
    monkeypatch.setattr(state, "requests", requests)
    monkeypatch.setattr(time, "time", lambda: 1_000.5)
    client: Any = Redis()
    stamp(client, "unacked_index", held_tags())
    stamp(client, "unacked_index", [])
    assert client.stamped == [("unacked_index", {"a": 1_000.5, "b": 1_000.5}, True)]
