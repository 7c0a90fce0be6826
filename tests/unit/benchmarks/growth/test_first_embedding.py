from pathlib import Path

import numpy as np

from benchmarks.growth.first_embedding import commit, taken_back
from shared.messages.search import Searched
from shared.settings import Settings
from tests.support.make_job import make_job
from workers.search.pool import SearcherPool


def test_a_job_whose_last_partition_was_taken_back_is_searched_without_it_until_it_is_committed(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", partition_size=30)
    job, waiting = taken_back(made.job)
    assert [(chunk.start, len(vectors)) for chunk, vectors in waiting] == [(40, 10), (50, 10)]
    pool = SearcherPool(Settings())
    assert pool.searcher(job).searched == Searched(40, 60)
    commit(job, *waiting[1])
    searcher = pool.searcher(job)
    assert searcher.searched == Searched(50, 60)
    assert searcher.search(made.embeddings[55].astype(np.float32), 1)[0].id == 55
