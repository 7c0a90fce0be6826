"""What candidates are ordered by where two models compared them."""

import numpy as np
import pytest

from workers.search.cascade.finer.fusing import fused
from workers.search.cascade.normalised import BEHIND, normalised

RANKS = 40


def cosines(level: float, spread: float, seed: int) -> list[float]:
    return (level + spread * np.random.default_rng(seed).normal(size=RANKS)).tolist()


def test_a_model_whose_cosines_lie_close_together_counts_as_much_as_the_other() -> None:
    similarities, finer = cosines(0.5, 0.1, 1), cosines(0.95, 0.002, 2)
    similarities[7], similarities[9] = max(similarities) + 0.02, max(similarities) - 0.05
    finer[7], finer[9] = 0.95, 0.99
    found = fused(similarities, finer)
    assert int(found.argmax()) == 9
    # Their plain sum would hardly look at the finer one.
    assert int(np.add(similarities, finer).argmax()) == 7


def test_it_is_the_mean_of_what_each_says_above_its_own_ranks_behind_and_one_alone_where_there_is_no_other() -> None:
    similarities, finer = cosines(0.5, 0.1, 3), cosines(0.2, 0.3, 4)
    values = np.asarray(similarities, np.float32)
    alone = normalised(values, np.sort(values)[::-1][BEHIND])
    none: list[float | None] = [None] * RANKS
    np.testing.assert_allclose(fused(similarities, none), alone)
    some: list[float | None] = [*finer[:30], *none[30:]]
    found = fused(similarities, some)
    np.testing.assert_allclose(found[30:], alone[30:])
    theirs = np.asarray(finer[:30], np.float32)
    np.testing.assert_allclose(found[:30], (alone[:30] + normalised(theirs, np.sort(theirs)[::-1][BEHIND])) / 2)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_of_few_candidates_there_is_an_order_too(count: int) -> None:
    similarities = [0.9 - 0.1 * place for place in range(count)]
    found = fused(similarities, list(similarities))
    assert np.isfinite(found).all()
    assert found.tolist() == sorted(found.tolist(), reverse=True)
