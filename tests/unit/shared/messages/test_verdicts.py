import json
from dataclasses import replace
from typing import Any

import pytest

from shared.errors import MessageError
from shared.messages.verdicts import NOTHING, SAME_BYTES, SAME_PICTURE, VERDICTS, Evidence

WHOLE = Evidence(
    inliers=132,
    aligned=0.91,
    matrix=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    query_quad=((0.0, 0.0), (40.0, 0.0), (40.0, 30.0), (0.0, 30.0)),
    hit_quad=((0.0, 0.0), (40.0, 0.0), (40.0, 30.0), (0.0, 30.0)),
    query_overlap=1.0,
    hit_overlap=1.0,
    turned=0.0,
    mirrored=False,
)


def test_the_strongest_verdict_is_first_and_the_weakest_last() -> None:
    assert (VERDICTS[0], VERDICTS[2], VERDICTS[-1]) == (SAME_BYTES, SAME_PICTURE, NOTHING)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "132 matching points"),
        ({"inliers": 0}, "whole"),
        ({"inliers": 1_320, "hit_overlap": 0.41, "turned": 90.0}, "cropped (41 %), turned 90°, 1,320 matching points"),
        ({"mirrored": True}, "mirrored, 132 matching points"),
        ({"query_overlap": 0.12, "turned": -7.0}, "in 12 % of the query, turned -7°, 132 matching points"),
        ({"hit_overlap": 0.004, "inliers": 0}, "cropped (under 1 %)"),
        ({"hit_overlap": 0.98, "query_overlap": 0.98}, "132 matching points"),
    ],
)
def test_it_is_described_by_what_was_done_to_the_picture(changes: dict[str, Any], said: str) -> None:
    assert replace(WHOLE, **changes).description == said


def test_evidence_is_the_same_after_json() -> None:
    evidence = replace(WHOLE, matrix=((0.5, -0.25, 3.5), (1e-9, 2.0, -7.0)), turned=180.0, mirrored=True)
    assert Evidence.from_json(json.loads(json.dumps(evidence.to_json()))) == evidence


@pytest.mark.parametrize(
    "changes",
    [
        {"inliers": -1},
        {"inliers": 1.5},
        {"inliers": True},
        {"aligned": 1.1},
        {"aligned": "0.5"},
        {"aligned": float("nan")},
        {"matrix": [[1, 0, 0]]},
        {"matrix": [[1, 0, 0], [0, 1]]},
        {"matrix": [[1, 0, 0], [0, 1, float("inf")]]},
        {"query_quad": [[0, 0], [1, 1]]},
        {"hit_quad": None},
        {"query_overlap": -0.1},
        {"hit_overlap": None},
        {"turned": 181},
        {"turned": -180},
        {"turned": "90"},
        {"mirrored": 0},
    ],
)
def test_what_is_no_evidence_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MessageError, match="vidence"):
        Evidence.from_json(WHOLE.to_json() | changes)


def test_evidence_that_lacks_something_is_refused() -> None:
    table = WHOLE.to_json()
    del table["matrix"]
    with pytest.raises(MessageError, match="must hold"):
        Evidence.from_json(table)
    with pytest.raises(MessageError, match="must hold"):
        Evidence.from_json(None)
