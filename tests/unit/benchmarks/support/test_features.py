"""Made features: the same for the same seed, each block by itself, spread as their recipe says."""

import numpy as np
import pytest

from benchmarks.support.features import BLOCK, FITTED_ROWS, Features, Recipe
from benchmarks.support.queries import COSINES

pytestmark = pytest.mark.slow

DIM = 64
ROWS = 8 * BLOCK


@pytest.fixture(scope="module")
def source() -> Features:
    return Features(DIM, ROWS, seed=3)


def lengths(features: np.ndarray) -> np.ndarray:
    return np.linalg.norm(features.astype(np.float64), axis=1)


def test_the_same_seed_makes_the_same_features_and_another_others(source: Features) -> None:
    again = Features(DIM, ROWS, seed=3)
    assert np.array_equal(source.block(2), again.block(2))
    assert not np.array_equal(source.block(2), Features(DIM, ROWS, seed=4).block(2))


def test_a_block_does_not_depend_on_those_made_before_it(source: Features) -> None:
    fifth = source.block(5)
    another = Features(DIM, ROWS, seed=3)
    before, after = another.block(4), another.block(5)
    assert np.array_equal(fifth, after)
    assert not np.array_equal(before, after)


def test_more_rows_begin_with_the_fewer_as_long_as_both_are_samples_of_what_was_fitted_to() -> None:
    few = np.concatenate([*Features(DIM, BLOCK + 10).blocks()])
    many = np.concatenate([*Features(DIM, 2 * BLOCK + 1).blocks()])
    assert (len(few), len(many)) == (BLOCK + 10, 2 * BLOCK + 1)
    assert np.array_equal(many[: len(few)], few)


def test_a_collection_larger_than_that_has_more_classes_and_a_crowded_one_has_not() -> None:
    recipe = Recipe()
    assert recipe.counts(20_000) == recipe.counts(FITTED_ROWS) == (recipe.classes, recipe.groups)
    assert recipe.counts(10 * FITTED_ROWS) == (10 * recipe.classes, 10 * recipe.groups)
    assert Recipe(crowded=True).counts(10 * FITTED_ROWS) == (recipe.classes, recipe.groups)


def nearest_others(rows: int, crowded: bool) -> float:
    """How near the nearest of some stored images is to new ones, at the median."""
    # With few groups, to see it at a few thousand rows.
    made = Features(DIM, rows, recipe=Recipe(classes=10, groups=50, crowded=crowded))
    some = np.concatenate([made.block(number) for number in range(4)]).astype(np.float32)
    return float(np.median((made.fresh(300) @ some.T).max(axis=1)))


def test_of_more_classes_a_sample_has_fewer_near_images_and_of_a_crowded_collection_as_many() -> None:
    small, large = ROWS, 100 * FITTED_ROWS
    assert nearest_others(large, crowded=True) == nearest_others(small, crowded=False)
    assert nearest_others(large, crowded=False) < nearest_others(small, crowded=False) - 0.02


def test_every_sixth_group_is_a_series_of_near_copies_whatever_the_seed() -> None:
    shares = []
    for seed in range(3):
        cosines = nearest(DIM, seed)
        shares.append((cosines > 0.98).mean())
    assert min(shares) > 0.05
    assert max(shares) - min(shares) < 0.03  # By lot, the same seeds are .05 apart.


def nearest(dim: int, seed: int) -> np.ndarray:
    some = Features(dim, ROWS, seed).block(0).astype(np.float32)
    cosines = some @ some.T
    np.fill_diagonal(cosines, -1)
    return np.asarray(cosines.max(axis=1))


def test_features_are_half_floats_of_length_1_and_nearly_half_of_their_values_are_zero(source: Features) -> None:
    block = source.block(0)
    assert block.dtype == np.float16
    assert block.shape == (BLOCK, DIM)
    assert np.abs(lengths(block) - 1).max() < 2e-3
    assert block.min() == 0
    assert 0.40 < (block == 0).mean() < 0.52


def test_a_recipe_of_another_bias_makes_other_zeros() -> None:
    zeros = [(Features(DIM, ROWS, recipe=Recipe(bias=bias)).block(0) == 0).mean() for bias in (-0.3, 0.0, 0.3)]
    assert zeros[0] > zeros[1] + 0.05 > zeros[2] + 0.1


def test_fresh_features_are_in_no_block_but_of_the_same_kind(source: Features) -> None:
    fresh, block = source.fresh(300), source.block(0).astype(np.float32)
    nearest = (fresh @ block.T).max(axis=1)
    assert nearest.max() < 0.9999
    assert np.median(nearest) > np.median(fresh @ block.T) + 0.2


@pytest.mark.parametrize("cosine", COSINES)
def test_a_copy_has_the_cosine_that_was_asked_for(source: Features, cosine: float) -> None:
    copies = source.copies(1, 20, cosine)
    originals = source.block(1)[:20].astype(np.float32)
    assert np.abs(lengths(copies) - 1).max() < 1e-5
    assert np.abs(np.sum(copies * originals, axis=1) - cosine).max() < 2e-3
