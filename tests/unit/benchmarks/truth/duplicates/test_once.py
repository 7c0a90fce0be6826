"""The measurement of a search for duplicates: it knows which copies were planted, and which pairs there are."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.truth.duplicates import once
from tests.support.duplicates import vector_job
from tests.support.make_job import clustered, unit

pytestmark = pytest.mark.slow


def test_what_was_planted_is_found_and_what_is_lost_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "PLANTED", 10)
    monkeypatch.setattr(once, "BLOCK", 50)
    base = clustered(400, 32)
    noise = 0.001 * np.random.default_rng(1).normal(size=(40, 32)).astype(np.float32)
    originals = np.concatenate([base[place * 50 : place * 50 + 10] for place in range(4)])
    originals[35:] = unit(-originals[35:])  # These are copies of nothing.
    job = vector_job(tmp_path, np.concatenate([base, originals + noise]), partition_size=100)
    found = once.measured(job)
    assert found["planted_found"] == {"0.99": 1.0, "0.97": 1.0, "0.95": 1.0, "0.9": 0.5}
    assert all(one["found"] == 1.0 and one["pairs"] >= 35 for one in found["exact"])
    assert found["groups"] > 30
    assert found["seconds"].keys() == {"open", "neighbours", "group"}
