"""Jobs of made features: the files hold the collection."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.support import made_jobs
from benchmarks.support.features import BLOCK, Features

pytestmark = pytest.mark.slow

DIM = 64


def test_the_files_hold_the_collection(tmp_path: Path) -> None:
    rows = made_jobs.FILE_BLOCKS * BLOCK + 5
    made = Features(DIM, rows)
    files = sorted(made_jobs.write_features(made, tmp_path / "given").iterdir())
    assert [np.load(file).shape for file in files] == [(rows - 5, DIM), (5, DIM)]
    assert np.array_equal(np.concatenate([np.load(file) for file in files]), np.concatenate([*made.blocks()]))
