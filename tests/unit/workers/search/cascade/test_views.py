from shared.messages.search import Hit
from workers.search.cascade.views import merged, ranked


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
