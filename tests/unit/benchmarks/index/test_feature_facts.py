"""Facts of features, counted right."""

import numpy as np
import pytest

from benchmarks.index import feature_facts
from benchmarks.support.features import BLOCK, Features

pytestmark = pytest.mark.slow

DIM = 64
ROWS = 8 * BLOCK


@pytest.fixture(scope="module")
def source() -> Features:
    return Features(DIM, ROWS, seed=3)


def test_facts_are_those_of_the_features_they_are_counted_on() -> None:
    # Half of the rows are one axis, half another: two zeros in four values, and cosines of 0 and 1.
    features = np.repeat(np.eye(4, dtype=np.float32)[:2], 500, axis=0)
    facts = feature_facts.spread(features)
    assert facts["zeros"] == [0.75]
    assert facts["mean"] == [0.25]
    assert facts["norm of the mean vector"] == [0.707]
    assert facts["dimensions for 50, 80, 90, 95, 99 % of the variance"] == [1, 1, 1, 1, 1]
    assert facts["cosine of random pairs, p10 p50 p90"] in ([0, 0, 1], [0, 1, 1])


def test_the_nearest_are_those_of_highest_cosine(source: Features) -> None:
    stored, queries = source.block(0)[:3000], source.fresh(5)
    cosines, rows = feature_facts.nearest(stored, queries, 10)
    everything = queries @ stored.astype(np.float32).T
    assert np.array_equal(rows, np.argsort(-everything, axis=1)[:, :10])
    assert cosines == pytest.approx(np.take_along_axis(everything, rows, 1), abs=1e-5)
