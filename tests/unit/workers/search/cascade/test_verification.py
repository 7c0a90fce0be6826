"""Which candidates are compared, and that the answer does not depend on which comparison is done first."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

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


def unlike(hit: Hit, others: Sequence[Hit]) -> list[float]:
    return [0.0] * len(others)


@pytest.mark.parametrize("side_by_side", [1, 2, 4])
def test_all_are_compared_where_none_is_proven(threads: ThreadPoolExecutor, side_by_side: int) -> None:
    judged, _, told = verify_candidates(
        CANDIDATES, judging(), threads, Bounds(60, side_by_side, after=AFTER_PROVEN), unlike
    )
    assert list(judged) == [hit.id for hit in CANDIDATES]
    assert {hit.verdict for hit in judged.values()} == {SIMILAR}
    assert (told.candidates, told.compared, told.ended) == (30, 30, ALL)


@pytest.mark.parametrize("side_by_side", [1, 2, 4])
def test_it_ends_early_once_the_ones_behind_those_that_are_proven_are_not(
    threads: ThreadPoolExecutor, side_by_side: int
) -> None:
    judged, _, told = verify_candidates(
        CANDIDATES, judging(3, 5, 20), threads, Bounds(60, side_by_side, after=AFTER_PROVEN), unlike
    )
    assert [hit.rank for hit in judged.values()] == [*range(1, 5 + AFTER_PROVEN + 1)]
    assert (told.candidates, told.compared, told.ended) == (30, 5 + AFTER_PROVEN, ENOUGH)
    judged, _, told = verify_candidates(
        CANDIDATES, judging(3, 20), threads, Bounds(60, side_by_side, after=LONG_AFTER), unlike
    )
    assert (told.compared, told.ended) == (3 + LONG_AFTER, ENOUGH)
    judged, _, told = verify_candidates(
        CANDIDATES, judging(3, 10, 18, 23), threads, Bounds(60, side_by_side, after=LONG_AFTER), unlike
    )
    assert (len(judged), told.ended) == (30, ALL), "copies may have some others between them"


@pytest.mark.parametrize("side_by_side", [1, 2, 3, 4, 30])
def test_what_is_near_to_a_proven_one_is_compared_next_however_many_are_compared_side_by_side(
    threads: ThreadPoolExecutor, side_by_side: int
) -> None:
    # Copy 24 is like 3, and 29 is like 24: by the query, both are behind many strangers.
    copies = {frozenset((3, 24)): 0.9, frozenset((24, 29)): 0.8}

    def alike(hit: Hit, others: Sequence[Hit]) -> list[float]:
        return [copies.get(frozenset((hit.rank, other.rank)), 0.1) for other in others]

    judged, _, told = verify_candidates(
        CANDIDATES, judging(3, 24, 29), threads, Bounds(60, side_by_side, after=4), alike
    )
    assert [hit.rank for hit in judged.values()] == [1, 2, 3, 4, 24, 5, 29, 6, 7, 8, 9]
    assert (told.candidates, told.compared, told.ended) == (30, 11, ENOUGH)
    assert [hit.rank for hit in judged.values() if hit.verdict == SAME_BYTES] == [3, 24, 29]


def test_what_waits_for_a_thread_when_another_becomes_likelier_is_put_back() -> None:
    handed, began = list[int](), list[int]()
    four, again = threading.Event(), threading.Event()

    class Threads(ThreadPoolExecutor):
        def submit(self, *what: Any, **more: Any) -> Any:
            handed.append(what[1].rank)
            if len(handed) == 4:
                four.set()
            if handed[-1] == 29:
                again.set()
            return super().submit(*what, **more)

    def judge(hit: Hit) -> Hit:
        began.append(hit.rank)
        # The first is proven when all four are handed over; the second ends when a likelier one is handed over.
        if hit.rank in (1, 2):
            assert (four if hit.rank == 1 else again).wait(60)
        return judging(1, 29)(hit)

    def alike(hit: Hit, others: Sequence[Hit]) -> list[float]:
        return [float(other.rank >= 29) for other in others]

    with Threads(1) as one:
        judged, *_ = verify_candidates(CANDIDATES, judge, one, Bounds(60, 4, after=2), alike)
    assert [hit.rank for hit in judged.values()] == [1, 2, 29, 3, 30]
    assert handed[:7] == [1, 2, 3, 4, 29, 30, 4]
    assert began[:5] == [1, 2, 3, 29, 30], "4 is handed over again, behind the likelier ones"


@pytest.mark.parametrize("side_by_side", [1, 4])
def test_a_guess_that_can_not_be_compared_counts_only_where_it_is_reached(side_by_side: int) -> None:
    ended = threading.Event()

    def judge(hit: Hit) -> Hit:
        # The first of all ends behind those that were begun beside it, one of which was never due.
        if hit.rank == 1 and side_by_side > 1:
            assert ended.wait(60)
        try:
            return judging(1, unread=(2, 4))(hit)
        finally:
            if hit.rank == 4:
                ended.set()

    with ThreadPoolExecutor(4) as threads:
        judged, unread, told = verify_candidates(CANDIDATES, judge, threads, Bounds(60, side_by_side, after=1), unlike)
    assert [hit.rank for hit in judged.values()] == [1, 3]
    assert unread == {102}
    assert (told.unread, told.why_unread, told.ended) == (1, "2.jpg is gone.", ENOUGH)


def test_a_candidate_that_is_given_twice_is_compared_once(threads: ThreadPoolExecutor) -> None:
    few = CANDIDATES[:4]
    judged, _, told = verify_candidates([*few, *few], judging(1, 3), threads, Bounds(60, 2, after=9), unlike)
    assert [hit.rank for hit in judged.values()] == [1, 2, 3, 4]
    assert (told.candidates, told.compared, told.ended) == (4, 4, ALL)


def test_nothing_is_begun_when_the_time_is_up(threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    # It is asked for the time when it begins, and before each candidate; the second proof takes up what was left.
    times = iter([0.0, 0.0, 0.0, 70.0, 70.0])
    monkeypatch.setattr(verification, "monotonic", lambda: next(times))
    began: list[int] = []

    def judge(hit: Hit) -> Hit:
        began.append(hit.rank)
        return judging(1, 2)(hit)

    judged, _, told = verify_candidates(CANDIDATES, judge, threads, Bounds(60, 1, after=9), unlike)
    assert began == [hit.rank for hit in judged.values()] == [1, 2]
    assert (told.compared, told.ended) == (2, SECONDS)


def test_an_end_behind_the_last_candidate_leaves_none(threads: ThreadPoolExecutor) -> None:
    few = CANDIDATES[: 1 + AFTER_PROVEN]
    *_, told = verify_candidates(few, judging(1), threads, Bounds(60, 1, after=AFTER_PROVEN), unlike)
    assert (told.compared, told.ended) == (len(few), ALL)


def test_those_that_can_not_be_compared_have_no_verdict_and_are_counted(threads: ThreadPoolExecutor) -> None:
    judged, unread, told = verify_candidates(
        CANDIDATES, judging(9, unread=(2, 7)), threads, Bounds(60, 3, after=30), unlike
    )
    assert not {102, 107} & set(judged)
    assert unread == {102, 107}
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
        judged, _, told = verify_candidates(CANDIDATES, judge, threads, Bounds(60, 2, after=AFTER_PROVEN), unlike)
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

    verify_candidates(CANDIDATES, judge, threads, Bounds(60, 2, after=AFTER_PROVEN), unlike)
    assert most == 2
