"""Found, not there, or not known: the last wherever something was not looked at."""

import re

import pytest

from coordinator.client.matches import absent_sentence, is_found, proven, why_unknown
from shared.errors import ImageError
from shared.messages.search import Answer, Hit, Searched
from shared.messages.verdicts import SAME_BYTES, SAME_PICTURE, SAME_PIXELS, SIMILAR
from shared.messages.verified import Verified
from tests.support.evidence import evidence

OTHERS = (Hit(1, 4, "d.jpg", 0.9, SIMILAR), Hit(2, 5, "e.jpg", 0.8))


def answer(told: Verified | None, *hits: Hit, searched: Searched | None = None) -> Answer:
    return Answer((*hits, *OTHERS), verified=told, searched=searched)


@pytest.mark.parametrize("verdict", [SAME_BYTES, SAME_PIXELS, SAME_PICTURE])
@pytest.mark.parametrize(
    "told", [Verified(9, 4, ended="enough"), Verified(9, 1, 8, "gone"), Verified(9, 1, ended="seconds")]
)
def test_what_is_proven_is_found_whatever_was_not_compared(verdict: str, told: Verified) -> None:
    hit = Hit(1, 1, "a.jpg", 0.5, verdict, None if verdict == SAME_BYTES else evidence())
    found = answer(told, hit, searched=Searched(5, 10))
    assert is_found(found) is True
    assert proven(found) == [hit]


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (Verified(100, 100), "not there: none of the 100 nearest images shows the same picture"),
        (Verified(1, 1), "not there: the nearest image does not show the same picture"),
        (Verified(ended="far"), "not there: no image is near enough to be the same picture"),
    ],
)
def test_it_is_not_there_where_every_candidate_was_compared(told: Verified, sentence: str) -> None:
    found = answer(told, searched=Searched(10, 10))
    assert is_found(found) is False
    assert absent_sentence(found) == sentence
    assert proven(found) == []


@pytest.mark.parametrize(
    ("told", "searched", "sentence"),
    [
        (None, None, "says nothing of verdicts"),
        (Verified(9, reason="There is no image."), None, "There is no image."),
        (Verified(9, 8, 1, "b.jpg is gone."), None, "1 of the 9 nearest images can't be compared: b.jpg is gone."),
        (Verified(9, 6, 3, "b.jpg is gone."), None, "3 of the 9 nearest images can't be compared; the first: b.jpg is"),
        (
            Verified(9, 4, ended="seconds"),
            None,
            r"4 of the 9 nearest images were .* \(the setting verify_seconds\)",
        ),
        (Verified(9, 9), Searched(5_000, 10_000), "only 5,000 of the 10,000 images of the job were searched"),
    ],
)
def test_it_is_not_known_where_something_was_not_looked_at(
    told: Verified | None, searched: Searched | None, sentence: str
) -> None:
    found = answer(told, searched=searched)
    assert is_found(found) is None
    assert re.search(sentence, why_unknown(found))


def test_nothing_is_known_of_a_query_that_failed() -> None:
    assert is_found(Answer(error=ImageError("It is cut.", "truncated"))) is None


def test_a_picture_is_not_in_a_job_that_holds_none() -> None:
    empty = Answer((), verified=Verified())
    assert is_found(empty) is False
    assert absent_sentence(empty) == "not there: the job has no image to compare it with"
