from pathlib import Path

import numpy as np

from benchmarks.growth.changes import grow, remove
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.make_job import clustered, make_job
from workers.merge.build import merge
from workers.search.pool import SearcherPool


def test_a_job_that_is_changed_without_images_is_whole_and_finds_what_it_should(tmp_path: Path) -> None:
    vectors = clustered(300, 16).astype(np.float16)
    made = make_job(tmp_path / "job", vectors[:200].astype(np.float32), partition_size=100)
    merge(made.job, Settings(), UNWATCHED)
    job = grow(made.job, vectors[200:])
    assert (job.listed, job.partition_count) == (300, 3)
    pool = SearcherPool(Settings())
    assert pool.searcher(job).search(vectors[299].astype(np.float32), 1)[0].id == 299
    assert remove(job, np.array([299])).state.removed.tolist() == [299]
    assert pool.searcher(job).search(vectors[299].astype(np.float32), 1)[0].id != 299
