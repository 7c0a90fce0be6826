"""Which candidates are compared, and that the answer does not depend on which comparison is done first."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from shared.errors import ImageError
from shared.messages.search import Hit
from shared.messages.verdicts import SAME_BYTES, SIMILAR
from shared.messages.verified import ALL, ENOUGH, SECONDS
from workers.search.cascade import verification
from workers.search.cascade.verification import AFTER_PROVEN, LONG_AFTER, Bounds, verify_candidates

CANDIDATES = [Hit(rank, 100 + rank, f"{rank}.jpg", 1 - rank / 100) for rank in range(1, 31)]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def judging(*proven: int, unread: tuple[int, ...] = ()) -> Callable[[Hit], Hit]:
    def judge(hit: Hit) -> Hit:
        if hit.rank in unread:
            raise ImageError(f"{hit.image_path} is gone.", "vanished")
        return replace(hit, verdict=SAME_BYTES if hit.rank in proven else SIMILAR)

    return judge


@pytest.mark.parametrize("side_by_side", [1, 2, 4])
def test_all_are_compared_where_none_is_proven(threads: ThreadPoolExecutor, side_by_side: int) -> None:
    judged, told = verify_candidates(CANDIDATES, judging(), threads, Bounds(60, side_by_side, after=AFTER_PROVEN))
    assert list(judged) == [hit.id for hit in CANDIDATES]
    assert {hit.verdict for hit in judged.values()} == {SIMILAR}
    assert (told.candidates, told.compared, told.ended) == (30, 30, ALL)


@pytest.mark.parametrize("side_by_side", [1, 2, 4])
def test_it_ends_early_once_the_ones_behind_those_that_are_proven_are_not(
    threads: ThreadPoolExecutor, side_by_side: int
) -> None:
    judged, told = verify_candidates(
        CANDIDATES, judging(3, 5, 20), threads, Bounds(60, side_by_side, after=AFTER_PROVEN)
    )
    assert [hit.rank for hit in judged.values()] == [*range(1, 5 + AFTER_PROVEN + 1)]
    assert (told.candidates, told.compared, told.ended) == (30, 5 + AFTER_PROVEN, ENOUGH)
    judged, told = verify_candidates(CANDIDATES, judging(3, 20), threads, Bounds(60, side_by_side, after=LONG_AFTER))
    assert (told.compared, told.ended) == (3 + LONG_AFTER, ENOUGH)
    judged, told = verify_candidates(CANDIDATES, judging(3, 5, 20), threads, Bounds(60, side_by_side, after=LONG_AFTER))
    assert (len(judged), told.ended) == (30, ALL), "copies may have some others between them"


def test_an_end_behind_the_last_candidate_leaves_none(threads: ThreadPoolExecutor) -> None:
    few = CANDIDATES[: 1 + AFTER_PROVEN]
    _, told = verify_candidates(few, judging(1), threads, Bounds(60, 1, after=AFTER_PROVEN))
    assert (told.compared, told.ended) == (len(few), ALL)


def test_those_that_can_not_be_compared_have_no_verdict_and_are_counted(threads: ThreadPoolExecutor) -> None:
    judged, told = verify_candidates(CANDIDATES, judging(9, unread=(2, 7)), threads, Bounds(60, 3, after=30))
    assert not {102, 107} & set(judged)
    assert (told.compared, told.unread, told.why_unread, told.ended) == (28, 2, "2.jpg is gone.", ALL)
    assert not told.is_whole


def test_when_the_time_is_up_what_was_compared_by_then_counts(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is asked for the time once when it begins, and then before it waits for each candidate.
    times = iter([0.0, 0.0, 0.0, 0.0, 70.0])
    monkeypatch.setattr(verification, "monotonic", lambda: next(times))
    released = threading.Event()

    def judge(hit: Hit) -> Hit:
        if hit.rank == 4:
            released.wait(60)
        return replace(hit, verdict=SIMILAR)

    try:
        judged, told = verify_candidates(CANDIDATES, judge, threads, Bounds(60, 2, after=AFTER_PROVEN))
    finally:
        released.set()
    assert [hit.rank for hit in judged.values()] == [1, 2, 3]
    assert (told.compared, told.ended) == (3, SECONDS)
    assert not told.is_whole


def test_no_more_are_compared_at_once_than_may_be(threads: ThreadPoolExecutor) -> None:
    at_once, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(2, timeout=60)

    def judge(hit: Hit) -> Hit:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        both.wait()
        with lock:
            at_once -= 1
        return replace(hit, verdict=SIMILAR)

    verify_candidates(CANDIDATES, judge, threads, Bounds(60, 2, after=AFTER_PROVEN))
    assert most == 2
