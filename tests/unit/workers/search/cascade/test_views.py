from collections.abc import Sequence

from shared.messages.search import Hit
from workers.search.cascade.views import Likely, by_turns, in_turns, merged, ranked


def hits(*found: tuple[int, float]) -> list[Hit]:
    return [Hit(rank, image, f"{image}.jpg", similarity) for rank, (image, similarity) in enumerate(found, start=1)]


def test_each_image_is_there_once_with_the_similarity_of_its_nearest_view() -> None:
    whole, centre, corner = hits((1, 0.6), (2, 0.5)), hits((3, 0.9), (1, 0.55)), hits((2, 0.7), (3, 0.1))
    found = merged([whole, centre, corner], 10)
    assert [(hit.rank, hit.id, hit.similarity) for hit in found] == [(1, 3, 0.9), (2, 2, 0.7), (3, 1, 0.6)]
    assert merged([corner, whole, centre], 2) == found[:2]


def test_hits_get_the_ranks_of_their_order() -> None:
    found = ranked(hits((5, 0.1), (4, 0.9))[::-1], 5)
    assert [(hit.rank, hit.id) for hit in found] == [(1, 4), (2, 5)]


def test_each_view_has_its_turn_beside_what_is_nearest_over_all() -> None:
    other_picture, framed = [1, 2, 3, 4, 5, 6], [9, 1, 8]
    assert in_turns([1, 2, 3, 4, 5, 6, 9, 8], [other_picture, framed], 5) == [1, 2, 9, 3, 4]
    every = in_turns([1, 2, 3, 4, 5, 6, 9, 8], [other_picture, framed], 100)
    assert sorted(every) == [1, 2, 3, 4, 5, 6, 8, 9]


def test_one_view_keeps_its_order_and_few_hits_are_no_error() -> None:
    assert in_turns([3, 1, 2], [[3, 1, 2]], 2) == [3, 1]
    assert in_turns([], [[], []], 5) == []


def test_what_is_compared_first_has_the_similarity_of_its_nearest_view() -> None:
    whole, framed = hits((1, 0.8), (2, 0.79), (3, 0.78), (4, 0.3)), hits((4, 0.6), (1, 0.2))
    found = by_turns([whole, framed], 3)
    assert [(hit.id, hit.similarity) for hit in found] == [(1, 0.8), (2, 0.79), (4, 0.6)]
    assert [hit.id for hit in by_turns([whole], 10)] == [1, 2, 3, 4]


def test_what_is_near_to_the_proven_ones_takes_turns_with_the_order_given() -> None:
    copies = {1: {5: 0.9, 6: 0.8}, 2: {6: 0.7, 4: 0.6}}

    def alike(hit: Hit, others: Sequence[Hit]) -> list[float]:
        return [copies[hit.id].get(other.id, 0.0) for other in others]

    likely = Likely(hits(*((image, 1 - image / 10) for image in range(1, 9))), alike)
    first = likely.left.pop(0)
    assert [hit.id for hit in likely.left] == [2, 3, 4, 5, 6, 7, 8], "nothing is proven"
    likely.proven(first)
    assert [hit.id for hit in likely.left] == [2, 5, 3, 6, 4, 7, 8]
    second = likely.left.pop(0)
    likely.proven(second)
    # As given 3, 4, 7; by any of both 5, 6, 4; by the latest 6, 4.
    assert [hit.id for hit in likely.left] == [3, 5, 4, 6, 7, 8]
    assert [hit.similarity for hit in likely.left[:2]] == [0.7, 0.5], "a hit stays what it was"
