"""Which hits of altered copies count as their original, as strangers, and as neither."""

from collections.abc import Sequence

import numpy as np
import pytest

from shared.job.altered_copies import Copies
from shared.messages.search import Hit
from workers.evaluate.calibration.asked import Asked, Related
from workers.vectors.embeddings import Floats

NEAR = 0.9


def copies(*ids: int) -> Copies:
    vectors = np.eye(8, dtype=np.float16)[np.arange(len(ids)) % 8]
    similarities = np.full(len(ids), NEAR, np.float32)
    return Copies(np.array(ids, np.int64), ("flip",) * len(ids), similarities, vectors, "model@1", "d" * 64, 0)


def hits(*first: tuple[int, float], behind: int = 40) -> list[Hit]:
    values = [*first, *((1000 + number, 0.5 - number / 1000) for number in range(behind))]
    return [Hit(rank, image, f"{image}.jpg", similarity) for rank, (image, similarity) in enumerate(values, start=1)]


class Fixed:
    def __init__(self, *answers: list[Hit]) -> None:
        self.answers = answers

    def search_many(self, vectors: Floats, k: int) -> Sequence[Sequence[Hit]]:
        assert len(vectors) == len(self.answers)
        return [answer[:k] for answer in self.answers]


def test_each_copy_is_asked_for_with_its_original_and_without_it() -> None:
    asked = Asked.of(Fixed(hits((7, NEAR), (8, 0.6))), copies(7))
    seen, there, absent = asked.seen({})
    assert seen.originals.sum() == 1
    assert len(seen.standings) == 2 * 20
    assert seen.standings[seen.originals].item() == there[0] > absent[0] > 0
    assert asked.strangers[7][0][0] == 8
    assert seen.blind == pytest.approx(1 / 40)


def test_the_copies_of_one_image_count_as_one() -> None:
    seen, there, _ = Asked.of(Fixed(hits((7, NEAR)), hits((7, NEAR)), hits((9, NEAR))), copies(7, 7, 9)).seen({})
    assert len(there) == 3
    assert seen.weights.sum() == pytest.approx(2 * 2 * 20)


def test_an_image_of_equal_bytes_is_no_stranger() -> None:
    asked = Asked.of(Fixed(hits((7, NEAR), (8, NEAR), (9, 0.6))), copies(7))
    assert [image for image, _ in asked.strangers[7]][:2] == [9, 1000]
    seen, _, absent = asked.seen({})
    assert seen.originals.sum() == 2
    assert absent.max() < seen.standings[seen.originals].min()


@pytest.mark.parametrize(("related", "originals"), [(Related.SAME, 2), (Related.UNCLEAR, 1)])
def test_what_is_proven_to_show_the_same_is_never_a_stranger(related: Related, originals: int) -> None:
    asked = Asked.of(Fixed(hits((7, NEAR), (8, 0.88))), copies(7))
    plain, _, high = asked.seen({})
    seen, _, absent = asked.seen({(7, 8): related})
    assert (plain.originals.sum(), seen.originals.sum()) == (1, originals)
    assert absent.max() < high.max() / 2


def test_where_all_images_are_equal_nothing_is_seen() -> None:
    seen, there, absent = Asked.of(Fixed(hits(*((image, NEAR) for image in range(50)), behind=0)), copies(7)).seen({})
    assert (len(seen.standings), len(there), len(absent)) == (0, 0, 0)


def test_where_few_images_are_left_nothing_is_seen() -> None:
    seen, there, absent = Asked.of(Fixed(hits((7, NEAR), behind=9)), copies(7)).seen({})
    assert (len(seen.standings), len(there), len(absent)) == (0, 0, 0)


def test_an_original_that_is_not_found_is_an_answer_of_strangers() -> None:
    seen, there, _ = Asked.of(Fixed(hits()), copies(7)).seen({})
    assert seen.originals.sum() == 0
    assert len(there) == 1
