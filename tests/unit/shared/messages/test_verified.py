"""What a message says of verdicts, that it says nothing where none are asked for, and the order of hits."""

import json
from dataclasses import replace
from typing import Any

import pytest

from shared.errors import MessageError, QueryError
from shared.messages.query import Query
from shared.messages.search import Answer, Hit, SearchJob, reply_from_json, reply_to_json
from shared.messages.verdicts import SAME_BYTES, SAME_PICTURE, SAME_PIXELS, SIMILAR
from shared.messages.verified import ALWAYS, AUTO, MAX_VIEWS, NEVER, Verified, Verify, best_first
from tests.support.evidence import evidence

PLAIN = SearchJob("job", (Query(image=b"x"),))


def wire(table: Any) -> Any:
    return json.loads(json.dumps(table))


def test_a_plain_search_is_the_message_that_older_workers_know() -> None:
    assert set(PLAIN.to_json()) == {"version", "job", "k", "exact", "queries"}
    assert SearchJob.from_json(PLAIN.to_json()).verify == Verify(NEVER, 1)
    assert replace(PLAIN, verify=Verify(NEVER, 1)).to_json() == PLAIN.to_json()


@pytest.mark.parametrize("verify", [Verify(AUTO, 1), Verify(ALWAYS, 6), Verify(NEVER, MAX_VIEWS)])
def test_what_is_asked_for_travels(verify: Verify) -> None:
    assert SearchJob.from_json(wire(replace(PLAIN, verify=verify).to_json())).verify == verify


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"verify": "sometimes"}, "verify must be one of auto, always, never, not 'sometimes'"),
        ({"verify": None}, "verify must be one of"),
        ({"verify": ["auto"]}, "verify must be one of"),
        ({"views": 0}, "views must be"),
        ({"views": 17}, "views must be"),
        ({"views": True}, "views must be"),
        ({"views": "6"}, "views must be"),
    ],
)
def test_a_message_that_asks_for_something_else_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MessageError, match=sentence):
        SearchJob.from_json(PLAIN.to_json() | changes)


@pytest.mark.parametrize(("how", "views"), [("yes", 1), ("auto", 0), ("auto", 1.5), ("auto", True), ("", 1)])
def test_a_program_that_asks_for_something_else_gets_a_sentence(how: str, views: Any) -> None:
    with pytest.raises(QueryError, match=r"verify is .*; expected one of|views is .*; an image is searched for by"):
        Verify.of(how, views)


@pytest.mark.parametrize(
    "verified",
    [
        Verified(20, 20, chances="job"),
        Verified(ended="far", nothing=True, chances="published"),
        Verified(20, 20, no_chances="No copies."),
    ],
    ids=["job", "nothing", "none"],
)
def test_chances_travel_and_an_answer_without_them_is_as_before(verified: Verified) -> None:
    hit = Hit(1, 4, "d.jpg", 0.9, SIMILAR, chance=0.12)
    answer = Answer((hit, replace(hit, chance=None)), 1.0, verified=verified)
    (read,) = reply_from_json(wire(reply_to_json([answer])))
    assert (read.hits, read.verified) == (answer.hits, verified)
    assert set(replace(hit, chance=None).to_json()) == {"rank", "id", "image_path", "similarity", "verdict"}
    assert set(Verified(20, 20).to_json()) == {"candidates", "compared", "ended"}


@pytest.mark.parametrize("chance", [1.5, -0.1, "0.5", True, float("nan")])
def test_what_is_no_chance_is_refused(chance: Any) -> None:
    reply = reply_to_json([Answer((Hit(1, 4, "d.jpg", 0.9, SIMILAR),), 1.0)])
    reply["answers"][0]["hits"][0]["chance"] = chance
    with pytest.raises(MessageError, match="can't be read"):
        reply_from_json(reply)


def test_of_holders_of_some_shards_none_has_a_chance_where_one_has_none() -> None:
    one, other = Verified(5, 5, no_chances="Some shards."), Verified(5, 5, nothing=True, chances="job")
    assert one.and_of(other) == other.and_of(one) == Verified(10, 10, no_chances="Some shards.")


def hits() -> list[Hit]:
    return [
        Hit(1, 4, "d.jpg", 0.9, SIMILAR),
        Hit(2, 1, "a.jpg", 0.8, SAME_PICTURE, evidence(12)),
        Hit(3, 2, "b.jpg", 0.7, SAME_PICTURE, evidence(90, hit_overlap=0.4, turned=90)),
        Hit(4, 9, "i.jpg", 0.65),
        Hit(5, 7, "g.jpg", 0.65),
        Hit(6, 3, "c.jpg", 0.6, SAME_PIXELS, evidence(0)),
        Hit(7, 8, "h.jpg", 0.5, SAME_BYTES),
    ]


def test_proven_hits_are_before_the_others_the_strongest_verdict_first() -> None:
    assert [hit.id for hit in best_first(hits())] == [8, 3, 2, 1, 4, 7, 9]
    assert [hit.id for hit in best_first(reversed(hits()))] == [8, 3, 2, 1, 4, 7, 9], "whatever order they come in"


def test_verdicts_and_evidence_travel_and_are_not_there_where_nothing_was_compared() -> None:
    told = Verified(7, 5, 2, "b.jpg: it is gone.", "seconds", looked_up=0)
    answer = Answer(tuple(hits()), 2.5, verified=told)
    (found,) = reply_from_json(wire(reply_to_json([answer])))
    assert found == answer
    assert set(hits()[3].to_json()) == {"rank", "id", "image_path", "similarity"}
    assert set(Answer(()).to_json()) == {"hits", "milliseconds"}
    (none,) = reply_from_json(wire(reply_to_json([Answer((), verified=Verified(3, reason="No image."))])))
    assert none.verified == Verified(3, reason="No image.")


@pytest.mark.parametrize(
    "changes",
    [
        {"ended": "bored"},
        {"compared": -1},
        {"candidates": "7"},
        {"unread": 1.5},
        {"why_unread": 7},
        {"reason": ["gone"]},
        {"looked_up": -1},
    ],
)
def test_an_answer_that_says_something_else_is_refused(changes: dict[str, Any]) -> None:
    table = Answer((), verified=Verified(7, 5, 2, "gone")).to_json()
    with pytest.raises(MessageError):
        Answer.from_json(table | {"verified": table["verified"] | changes})
    hit = hits()[1].to_json()
    for bad in ({"verdict": "certainly"}, {"evidence": {}}, {"verdict": 3}):
        with pytest.raises(MessageError):
            Answer.from_json({"hits": [hit | bad], "milliseconds": 1})


def test_what_several_holders_compared_is_said_together() -> None:
    one, other = Verified(10, 4, ended="enough"), Verified(20, 18, 2, "b.jpg: gone.", "all")
    assert one.and_of(other) == other.and_of(one) == Verified(30, 22, 2, "b.jpg: gone.", "enough")
    assert one.and_of(Verified(5, 1, ended="seconds")).ended == "seconds"
    assert Verified(ended="far").and_of(Verified(3, 3)).is_whole
    assert one.and_of(Verified(reason="A vector.")).reason == "A vector."
    assert one.and_of(Verified(looked_up=7)).and_of(Verified(looked_up=5)).looked_up == 12


@pytest.mark.parametrize(
    ("told", "whole"),
    [
        (Verified(5, 5), True),
        (Verified(5, 2, ended="enough"), True),
        (Verified(0, 0, ended="far"), True),
        (Verified(5, 4, 1, "gone"), False),
        (Verified(5, 4, ended="seconds"), False),
        (Verified(5, reason="A vector."), False),
    ],
)
def test_an_answer_is_whole_where_nothing_kept_a_candidate_from_being_compared(told: Verified, whole: bool) -> None:
    assert told.is_whole is whole
