"""Which hits have to be compared once a finer model has put them in another order."""

from shared.messages.search import Hit
from shared.messages.verdicts import SAME_PICTURE, SIMILAR
from tests.support.evidence import evidence
from workers.search.cascade.finer.brought import brought_forward


def hit(number: int, fused: float | None, verdict: str | None = None) -> Hit:
    proof = evidence(20) if verdict == SAME_PICTURE else None
    return Hit(number, number, f"{number}.jpg", 1 - number / 100, verdict, proof, fused=fused)


def ids(hits: list[Hit], before: set[int], k: int) -> list[int]:
    return [one.id for one in brought_forward(hits, before, k)]


def test_what_comes_to_the_first_ones_is_compared_and_what_is_shown_in_front_of_it() -> None:
    hits = [hit(1, 5.0), hit(2, 4.0), hit(3, 1.0), hit(9, 4.5)]
    assert ids(hits, {1, 2, 3}, 3) == [1, 9]
    assert ids(hits, {1, 2, 3}, 1) == []
    assert ids([hit(1, 5.0), hit(9, 6.0)], {1}, 2) == [9]


def test_what_passes_a_compared_one_is_compared_and_what_stays_behind_all_of_them_is_not() -> None:
    hits = [hit(1, 3.0, SIMILAR), hit(2, 4.0), hit(3, 2.0)]
    assert ids(hits, {1, 2, 3}, 3) == [2]


def test_where_the_order_stays_nothing_more_is_compared() -> None:
    assert ids([hit(1, 3.0, SIMILAR), hit(2, 2.0), hit(3, None)], {1, 2, 3}, 3) == []
    assert ids([hit(2, 3.0), hit(1, 2.0, SAME_PICTURE)], {1, 2}, 2) == [], "what is proven is in front anyhow"
    assert ids([], set(), 3) == []
