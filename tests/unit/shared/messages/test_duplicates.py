"""The messages of a search for duplicates: JSON both ways, and nothing else is taken for one."""

import json
from typing import Any

import pytest

from shared.errors import MessageError
from shared.messages.duplicates import ComparePairs, FindNeighbours
from shared.messages.tasks import COMPARE_TASK, EMBED_QUEUE, MERGE_QUEUE, NEIGHBOURS_TASK, TASK_QUEUES

IDENTITY = "0123456789abcdef"
MESSAGES = [
    FindNeighbours("photos", 17, IDENTITY),
    FindNeighbours("photos", 0),
    ComparePairs("photos", "0" * 16, IDENTITY),
    ComparePairs("photos", "00ff" * 4),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_comes_back_as_it_was_sent(message: FindNeighbours | ComparePairs) -> None:
    assert type(message).from_json(json.loads(json.dumps(message.to_json()))) == message
    assert message.known_as == ("photos" if message.identity is None else f"photos:{IDENTITY}")


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("value", [None, -1, True, "../x", "0" * 15, "G" * 16, [], 10**9, ""])
def test_a_field_that_is_something_else_is_refused(message: FindNeighbours | ComparePairs, value: Any) -> None:
    table = message.to_json()
    for name in set(table) - {"job"}:
        with pytest.raises(MessageError):
            type(message).from_json(table | {name: value})
    for name in set(table) - {"identity"}:
        with pytest.raises(MessageError):
            type(message).from_json({key: table[key] for key in table if key != name})
    with pytest.raises(MessageError):
        type(message).from_json(table | {"more": 1})


def test_neighbours_are_for_those_with_the_index_and_pairs_for_those_with_the_images() -> None:
    assert TASK_QUEUES[NEIGHBOURS_TASK] == MERGE_QUEUE
    assert TASK_QUEUES[COMPARE_TASK] == EMBED_QUEUE
