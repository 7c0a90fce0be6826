import base64
import json
from typing import Any

from shared.broker.queues import queued_messages, queued_tasks


class Redis:
    """A Redis with one queue, and what workers hold."""

    def __init__(self, entries: list[str]) -> None:
        self.entries = entries
        self.held: list[str] = []

    def lrange(self, queue: str, first: int, last: int) -> list[str]:
        assert (queue, first, last) == ("embed", 0, -1)
        return self.entries

    def hvals(self, key: str) -> list[str]:
        assert key == "unacked"
        return self.held


def entry(body: Any, headers: Any = None) -> str:
    text = base64.b64encode(json.dumps(body).encode()).decode()
    return json.dumps({"body": text, "headers": headers})


def test_what_waits_in_a_queue_is_read_and_what_is_strange_left_out() -> None:
    good = [entry([[{"n": number}], {}, {}], {"id": f"task-{number}"}) for number in range(3)]
    strange = ["", "no json", "[]", "{}", "5", '{"body": 5}', '{"body": "%"}', entry([]), entry([[], {}]), entry(5)]
    client: Any = Redis([strange[0], good[0], *strange, *good[1:]])
    assert queued_messages(client, "embed") == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert queued_tasks(client, "embed") == ["task-0", "task-1", "task-2"]


def test_what_a_worker_holds_for_later_waits_too_and_what_it_works_on_does_not() -> None:
    client: Any = Redis([entry([[{"n": 0}], {}, {}])])
    for number, (eta, queue) in enumerate([("2026-01-01", "embed"), (None, "embed"), ("2026-01-01", "merge")], 1):
        envelope = json.loads(entry([[{"n": number}], {}, {}], {"id": str(number), "eta": eta}))
        client.held.append(json.dumps([envelope, "", queue]))
    client.held += ["no json", "[]", "[1, 2, 3]"]
    assert queued_messages(client, "embed") == [{"n": 0}, {"n": 1}]
