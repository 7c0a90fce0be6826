"""Which hits get a chance, what it is, and when nothing is above chance."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shared.job.index.calibration import JOB, PUBLISHED, Calibration
from shared.messages.filter import Filter
from shared.messages.query import Query
from shared.messages.search import Hit, Searched, SearchJob
from shared.messages.shards import SearchedShards
from shared.messages.verdicts import NOTHING, SAME_PICTURE, SIMILAR
from shared.messages.verified import ALWAYS, FAR, Verified, Verify
from tests.support.evidence import evidence
from workers.search.cascade.chance import after_comparing, chances, standing, with_chances

MEASURED = Calibration(
    "0001-ab", "model@1", JOB, images=1_000, copies=288, originals=48, bound=5.0, missed=0.1,
    curve=((0.0, 0.001), (4.0, 0.001), (6.0, 0.5), (20.0, 0.98)),
)  # fmt: skip
MESSAGE = SearchJob("job", (Query(image=b"x"),), verify=Verify(ALWAYS, 1))
TOLD = Verified(20, 20)


def searcher(calibration: Calibration = MEASURED, ntotal: int = 1_000, searched: Searched | None = None) -> Any:
    return SimpleNamespace(calibration=calibration, ntotal=ntotal, searched=searched)


def found(*first: float, count: int = 25) -> list[Hit]:
    values = [*first, *(0.5 - number / 1000 for number in range(count - len(first)))]
    return [Hit(rank, rank, f"{rank}.jpg", value, SIMILAR) for rank, value in enumerate(values, start=1)]


def given(
    hits: Sequence[Hit], of: Any = None, message: SearchJob = MESSAGE, judged: Sequence[Hit] | None = None
) -> tuple[Sequence[Hit], Verified]:
    return with_chances(of or searcher(), hits, judged or hits, TOLD, message)


def test_what_stands_out_has_the_chance_that_is_left_after_comparing() -> None:
    hits, told = given(found(0.62))
    assert (told.nothing, told.chances, told.no_chances) == (False, JOB, None)
    assert {hit.verdict for hit in hits} == {SIMILAR}
    stands = standing([hit.similarity for hit in hits])
    before = float(chances(MEASURED, stands)[0])
    assert 0.5 < before < 0.98
    assert hits[0].chance == pytest.approx(before * 0.1 / (before * 0.1 + 1 - before), abs=1e-5)
    assert hits[1].chance is not None
    assert 0 < hits[1].chance < 0.001


def test_the_chance_after_comparing_is_less_and_never_none_or_all() -> None:
    before = np.array([0.001, 0.5, 0.98], np.float32)
    after = after_comparing(MEASURED, before)
    assert (after < before).all()
    assert after == pytest.approx([0.0001, 1 / 11, 0.098 / 0.118], rel=1e-3)


def test_the_order_of_the_hits_changes_no_chance() -> None:
    some = found(0.62, 0.6)
    hits, _ = given(some)
    turned, _ = given(some[::-1])
    assert {hit.id: hit.chance for hit in turned} == {hit.id: hit.chance for hit in hits}


def test_where_no_hit_stands_out_nothing_is_above_chance() -> None:
    some = found(0.52)
    judged = [*some[:3], *(replace(hit, verdict=None) for hit in some[3:])]
    hits, told = given(some, judged=judged)
    assert told.nothing
    assert [hit.verdict for hit in hits[:4]] == [NOTHING, NOTHING, NOTHING, None]
    assert [hit.chance is None for hit in hits[:4]] == [False, False, False, True]


def test_beside_a_proven_hit_the_others_have_none() -> None:
    some = found(0.9, 0.7)
    judged = [replace(some[0], verdict=SAME_PICTURE, evidence=evidence(20)), *some[1:]]
    assert given(some, judged=judged) == (judged, TOLD)


def _shards(missing: bool) -> Searched:
    return Searched(500, 1_000, SearchedShards("0001-ab", (0,) if missing else (0, 1), (500, 500)))


@pytest.mark.parametrize(
    ("of", "message", "reason"),
    [
        (searcher(Calibration("", "", reason="No copies.")), MESSAGE, "No copies."),
        (searcher(), replace(MESSAGE, filter=Filter.of([1, 2], None)), "this search was among some"),
        (searcher(), replace(MESSAGE, verify=Verify(ALWAYS, 6)), "several views"),
        (searcher(searched=_shards(missing=True)), MESSAGE, "searched some shards"),
        (searcher(ntotal=2_001), MESSAGE, "measured among 1,000 images, and 2,001 can be found now"),
        (searcher(ntotal=499), MESSAGE, "and 499 can be found now"),
    ],
    ids=["unmeasured", "filter", "views", "shards", "grown", "shrunk"],
)
def test_what_was_not_measured_has_no_chance_and_says_why(of: Any, message: SearchJob, reason: str) -> None:
    some = found(0.62)
    hits, told = given(some, of, message)
    assert hits == some
    assert reason in str(told.no_chances)
    assert (told.nothing, told.chances) == (False, None)


def test_a_holder_of_all_shards_has_measured_all() -> None:
    assert given(found(0.62), searcher(searched=_shards(missing=False)))[1].chances == JOB


def test_of_a_few_images_none_has_a_chance() -> None:
    hits, told = given(found(0.62, count=19))
    assert {hit.chance for hit in hits} == {None}
    assert "found 19" in str(told.no_chances)


def test_among_more_copies_than_ranks_nothing_is_said_to_be_no_copy() -> None:
    hits, told = given(found(*[0.97 - rank / 1000 for rank in range(25)]))
    assert {hit.verdict for hit in hits} == {SIMILAR}
    assert (told.nothing, told.chances) == (False, None)
    assert "all as near as copies are" in str(told.no_chances)


def test_where_a_finer_model_compared_images_their_order_was_not_measured() -> None:
    hits, told = given([replace(hit, finer=0.4, fused=1.0) for hit in found(0.51)])
    assert {(hit.verdict, hit.chance) for hit in hits} == {(SIMILAR, None)}
    assert (told.nothing, told.chances) == (False, None), "it is not said that nothing is above chance"
    assert "a finer model compared the images too" in str(told.no_chances)


def test_where_nothing_was_compared_no_reason_is_told_but_that_nothing_stands_out() -> None:
    plain = [replace(hit, verdict=None) for hit in found(0.51)]
    far = Verified(ended=FAR)
    assert with_chances(searcher(), plain, plain, far, MESSAGE) == (plain, replace(far, nothing=True, chances=JOB))
    unmeasured = searcher(Calibration("", "", reason="No copies."))
    assert with_chances(unmeasured, plain, plain, far, MESSAGE) == (plain, far)


def test_what_was_published_is_said_to_be() -> None:
    assert given(found(0.62), searcher(replace(MEASURED, measured=PUBLISHED)))[1].chances == PUBLISHED


def test_no_hits_are_nothing_to_tell_of() -> None:
    assert given([]) == ([], TOLD)
