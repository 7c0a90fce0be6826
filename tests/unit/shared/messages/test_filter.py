import base64
import json
from typing import Any

import numpy as np
import pytest

from shared.errors import MessageError, QueryError
from shared.messages.filter import MAX_IDS, MAX_WHERE, Filter


def test_ids_come_back_ascending_and_once() -> None:
    sent = Filter.of([7, 3, 2**40, 7, -1], None)
    assert sent is not None
    back = Filter.from_json(json.loads(json.dumps(sent.to_json())))
    assert back.ids is not None
    assert (back.ids.tolist(), back.where) == ([-1, 3, 7, 2**40], None)
    assert back.key == sent.key != Filter(ids=np.array([3, 7])).key


def test_an_expression_comes_back_as_it_is() -> None:
    back = Filter.from_json(json.loads(json.dumps(Filter(where=" width > 5 -- é").to_json())))
    assert (back.ids, back.where) == (None, " width > 5 -- é")
    assert back.key == Filter(where=" width > 5 -- é").key != Filter(where="width > 6").key


def test_no_filter_is_none() -> None:
    assert Filter.of(None, None) is None


@pytest.mark.parametrize(
    ("ids", "where", "sentence"),
    [
        ([1], "true", "just one"),
        ([], None, "has 0 image ids; 1 to 1,000,000"),
        (range(MAX_IDS + 1), None, "1,000,001 image ids"),
        ([1.5], None, r"whole numbers \[n\], not float64 \[1\]"),
        ([True], None, "not bool"),
        (["a"], None, "whole numbers"),
        ([[1]], None, r"int64 \[1, 1\]"),
        (5, None, r"int64 \[\]"),
        (np.array([2**64 - 1], np.uint64), None, "beyond every job"),
        (None, "", "0 characters"),
        (None, " \n", "2 characters"),
        (None, "x" * (MAX_WHERE + 1), "4,097 characters"),
    ],
)
def test_what_can_not_be_a_filter_says_why(ids: Any, where: str | None, sentence: str) -> None:
    with pytest.raises(QueryError, match=sentence):
        Filter.of(ids, where)


@pytest.mark.parametrize(
    "table",
    [
        None,
        [],
        {},
        {"ids": "AAAAAAAAAAA=", "where": "true"},
        {"which": "true"},
        {"where": None},
        {"where": ""},
        {"where": "x" * 5_000},
        {"ids": ""},
        {"ids": [1, 2]},
        {"ids": "AAAA"},
        {"ids": "no base64!"},
        {"ids": "A" * 12_000_000},
        {"ids": base64.b64encode(bytes(8 * (MAX_IDS + 1))).decode()},
    ],
)
def test_a_table_that_is_no_filter_is_refused(table: Any) -> None:
    with pytest.raises(MessageError, match="filter") as refused:
        Filter.from_json(table)
    assert len(str(refused.value)) < 300
