"""Queries of made features: what was found is judged by the truth, and by the originals of copies."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.support.features import BLOCK, Features
from benchmarks.support.queries import COSINES, Queries, recall_at_10

pytestmark = pytest.mark.slow

DIM = 64
ROWS = 8 * BLOCK


@pytest.fixture(scope="module")
def source() -> Features:
    return Features(DIM, ROWS, seed=3)


def test_recall_counts_the_true_ones_among_the_first_ten() -> None:
    truth = np.arange(20).reshape(2, 10)
    assert recall_at_10(truth, truth) == 1
    assert recall_at_10(truth[:, ::-1], truth) == 1
    assert recall_at_10(truth + 5, truth) == 0.5
    late = np.concatenate([truth + 100, truth], axis=1)
    assert recall_at_10(late, truth) == 0


def test_queries_come_back_from_their_file_and_judge_what_was_found(source: Features, tmp_path: Path) -> None:
    made = Queries.make(source, fresh=6, copies=3)
    assert made.vectors.shape == (6 + 3 * len(COSINES), DIM)
    assert made.originals.tolist() == [block * BLOCK + row for block in (0, 2, 4, 6) for row in range(3)]
    made.save(tmp_path / "queries.npz")
    loaded = Queries.load(tmp_path / "queries.npz")
    truth = np.arange(len(loaded.vectors) * 10).reshape(-1, 10) + 10**6
    found = truth.copy()
    found[6:9, 4] = loaded.originals[:3]  # All copies of the first cosine, one of the last; one fresh query missed.
    found[-1, 9] = loaded.originals[-1]
    found[0] = -1
    judged = loaded.with_truth(truth).judged(found)
    assert judged["recall_at_10"] == round(5 / 6, 4)
    assert list(judged["accuracy_at_10"].values()) == [1.0, 0.0, 0.0, 0.3333]
