from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from shared.job.altered_copies import Copies, none_of
from shared.messages.search import Hit
from workers.evaluate.accuracy import K, accuracy_at_10, by_alteration, found, queries_of


def copies(ids: Sequence[int], names: Sequence[str], similarities: Sequence[float]) -> Copies:
    vectors = np.eye(8, dtype=np.float16)[np.arange(len(ids)) % 8] * np.float16(0.999)
    cosines = np.array(similarities, dtype=np.float32)
    return Copies(np.array(ids, dtype=np.int64), tuple(names), cosines, vectors, "model@1", "d" * 64, 0)


class Fixed:
    """Gives each query the hits of its number, and remembers what it was asked."""

    def __init__(self, answers: list[list[tuple[int, float]]]) -> None:
        self.answers = iter(answers)
        self.asked: list[npt.NDArray[np.float32]] = []

    def search(self, vector: npt.NDArray[np.float32], k: int) -> list[Hit]:
        assert k == K == 10
        self.asked.append(vector)
        return [
            Hit(rank, image, f"{image}.jpg", similarity)
            for rank, (image, similarity) in enumerate(next(self.answers)[:k], start=1)
        ]


def test_a_copy_counts_where_its_original_is_among_the_hits() -> None:
    searcher = Fixed([[(1, 0.9), (5, 0.8)], [(5, 0.9), (6, 0.8)], [(7, 0.9), (2, 0.8)], []])
    made = copies([1, 1, 2, 2], ["flip", "grey", "flip", "grey"], [0.9, 0.7, 0.8, 0.5])
    assert accuracy_at_10(searcher, made) == {"flip": 1.0, "grey": 0.0}
    assert all(np.linalg.norm(vector) == pytest.approx(1, abs=1e-6) for vector in searcher.asked)
    assert [int(np.argmax(vector)) for vector in searcher.asked] == [0, 1, 2, 3]


def test_the_share_is_by_alteration_in_the_order_of_the_copies() -> None:
    made = copies([1, 1, 2, 2, 3], ["grey", "flip", "grey", "flip", "grey"], [0.9] * 5)
    shares = by_alteration(made, [True, True, False, True, False])
    assert list(shares.items()) == [("grey", pytest.approx(1 / 3)), ("flip", 1.0)]


@pytest.mark.parametrize(
    ("similarity", "good"), [(0.9, True), (0.9 + 5e-7, True), (0.9 + 5e-6, False), (0.9 - 5e-6, False)]
)
def test_an_image_exactly_as_similar_as_the_original_counts_and_one_more_similar_does_not(
    similarity: float, good: bool
) -> None:
    made = copies([1], ["flip"], [0.9])
    assert found(made, [[Hit(1, 8, "8.jpg", similarity)]]) == [good]


def test_no_copies_have_no_accuracy() -> None:
    none = none_of("model@1", "d" * 64, 0, "Gone.")
    assert accuracy_at_10(Fixed([]), none) == {}
    assert queries_of(none).shape == (0, 0)
