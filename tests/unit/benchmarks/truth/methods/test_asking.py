from typing import Any

from benchmarks.truth.methods.asking import latencies
from benchmarks.truth.queries.collection import Query


class Remembering:
    """A method that keeps what it was asked."""

    asks_absent = True
    about = ""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[tuple[bytes, int | None]] = []

    def ask(self, data: bytes, without: int | None) -> None:
        self.asked.append((data, without))


def test_no_query_is_timed_that_was_asked_before_and_other_ones_for_each_method() -> None:
    queries = [Query(number, "flip", bytes([number])) for number in range(200)]
    one: Any = Remembering("one")
    found = latencies(one, queries, 20)
    assert (found["asked"], set(found)) == (20, {"asked", "present", "absent"})
    present = [data for data, without in one.asked if without is None]
    absent = [(data, without) for data, without in one.asked if without is not None]
    assert len(present) == len(set(present)) == len(absent) == 23
    assert all(data == bytes([without]) for data, without in absent if without is not None)
    other: Any = Remembering("another")
    latencies(other, queries, 20)
    assert set(other.asked) != set(one.asked)


def test_few_queries_are_all_timed() -> None:
    method: Any = Remembering("one")
    assert latencies(method, [Query(3, "flip", b"q")], 60)["asked"] == 1
