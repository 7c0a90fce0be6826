import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import MessageError, QueryError, SettingsError
from shared.messages.search import Answer, Searched, reply_from_json, reply_to_json
from shared.messages.shards import Held, SearchedShards, as_ranges
from shared.messages.tasks import EMBED_TASK, QUERY_QUEUE, SEARCH_TASK, is_of_queue, is_query_queue


@pytest.mark.parametrize(
    ("text", "among"),
    [("0-3", [0, 1, 2, 3]), ("5", [5]), ("4-", [4, 5, 6]), ("0-", [*range(7)]), ("6-9", [6]), ("8", [])],
)
def test_shards_are_named_as_they_are_typed_and_each_group_has_a_queue(text: str, among: list[int]) -> None:
    held = Held.parsed(text)
    assert str(held) == text
    assert list(held.among(7)) == among
    assert held.queue == f"query.shards-{text}"
    assert Held.of_queue(held.queue) == held


def test_one_shard_is_one_group_however_it_is_typed() -> None:
    assert Held.parsed("3-3").queue == Held.parsed("3").queue == "query.shards-3"


@pytest.mark.parametrize("text", ["", "-", "-3", "3-1", "a", "0,1", "0 - 3", "12345", "0-3-5", "٣"])
def test_what_names_no_shards_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="names no shards"):
        Held.parsed(text)


@given(st.sets(st.integers(0, 40), min_size=1))
def test_numbers_are_said_as_ranges(numbers: set[int]) -> None:
    said = as_ranges(numbers).replace(" and ", ", ").split(", ")
    assert [number for some in said for number in Held.parsed(some).among(100)] == sorted(numbers)


@pytest.mark.parametrize("error", [None, QueryError("It has no pixels.")])
def test_the_shards_that_were_searched_travel_with_each_answer_and_with_an_error(error: QueryError | None) -> None:
    shards = SearchedShards("0001-ab12cd34", (0, 2), (10, 20, 70))
    (answer,) = reply_from_json(reply_to_json([Answer(error=error, searched=Searched(90, 100, shards))]))
    assert answer.searched == Searched(90, 100, shards)
    assert shards.missing == [1]
    assert reply_from_json(reply_to_json([Answer(error=error)]))[0].searched is None


def test_one_that_holds_all_shards_says_nothing_of_them() -> None:
    assert Searched(1, 2).to_json() == {"images": 1, "listed": 2}


@pytest.mark.parametrize(
    "changes",
    [
        {"numbers": [3]},
        {"numbers": [-1]},
        {"numbers": ["0"]},
        {"sizes": 5},
        {"build": 1},
        {"more": 1},
        {"numbers": [True]},
    ],
)
def test_what_was_searched_is_checked(changes: dict[str, object]) -> None:
    with pytest.raises(MessageError, match="searched"):
        SearchedShards.from_json(SearchedShards("b", (0,), (1, 2)).to_json() | changes)


def test_queries_may_come_through_the_queue_of_a_group_and_nothing_else() -> None:
    queue = Held.parsed("0-3").queue
    assert is_query_queue(queue)
    assert is_query_queue(QUERY_QUEUE)
    assert not is_query_queue("query.other")
    assert is_of_queue(SEARCH_TASK, queue)
    assert not is_of_queue(EMBED_TASK, queue)
