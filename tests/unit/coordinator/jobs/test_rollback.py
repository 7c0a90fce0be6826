from pathlib import Path

import pytest

from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.rollback import rollback
from shared.errors import CorruptFile, JobError, NoIndexYet
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.request import IndexRequest, read_index_request, write_index_request
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.make_job import MadeJob, clustered, make_job
from workers.merge import tune
from workers.merge.build import merge

pytestmark = pytest.mark.slow

POOR = IndexRequest("PCAR16,IVF32,PQ4x4fs")


@pytest.fixture
def made(tmp_path: Path) -> MadeJob:
    return make_job(tmp_path / "job", clustered(1_500, 24), partition_size=600, chunk_size=600)


def built(made: MadeJob, request: IndexRequest | None) -> IndexInfo:
    write_index_request(made.job, request)
    return merge(made.job, Settings(), UNWATCHED)


def is_current(made: MadeJob) -> bool:
    return ProgressReader(made.job).read().index_is_current


def test_the_build_before_serves_again_and_the_next_index_leaves_it(made: MadeJob) -> None:
    requests = IndexRequest(), IndexRequest("IVF16,Flat"), IndexRequest("hnsw")
    first, second, third = (built(made, request) for request in requests)
    done = rollback(made.job)
    assert (done.now, done.before, done.forgotten) == (second, third.build, "")
    assert builds.current_build(made.job) == second.build
    assert read_index_request(made.job) == IndexRequest("IVF16,Flat")
    assert is_current(made)
    assert rollback(made.job).now == first
    assert is_current(made)
    with pytest.raises(JobError, match=rf"no build before {first.build} .* nothing to go back to"):
        rollback(made.job)


def test_any_build_is_promoted_by_its_name(made: MadeJob) -> None:
    first, second = built(made, IndexRequest()), built(made, IndexRequest("IVF16,Flat"))
    assert rollback(made.job, first.build).now == first
    done = rollback(made.job, second.build)
    assert (done.now, done.before) == (second, first.build)
    assert is_current(made)


def test_a_build_that_was_refused_is_forgotten_or_promoted_all_the_same(
    made: MadeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "DEPTHS", (20,))
    first, refused = built(made, None), built(made, POOR)
    progress = ProgressReader(made.job).read()
    assert (progress.index, progress.refused, progress.index_is_current) == (first, refused, False)
    done = rollback(made.job)
    assert (done.now, done.before, done.forgotten) == (first, first.build, refused.build)
    assert read_index_request(made.job) == IndexRequest()
    progress = ProgressReader(made.job).read()
    assert (progress.refused, progress.index_is_current) == (None, True)
    assert rollback(made.job, refused.build).now == refused
    progress = ProgressReader(made.job).read()
    assert (progress.index, progress.refused, progress.index_is_current) == (refused, None, True)


def test_what_can_not_be_promoted_is_said_and_nothing_changes(made: MadeJob) -> None:
    with pytest.raises(NoIndexYet, match="nothing to go back from"):
        rollback(made.job)
    first, second = built(made, IndexRequest()), built(made, IndexRequest("IVF16,Flat"))
    with pytest.raises(
        JobError, match=rf"no whole build '0009-no'; those that there are: {first.build}, {second.build}"
    ):
        rollback(made.job, "0009-no")
    path = made.job.build_dir(first.build) / builds.INDEX_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptFile, match="another checksum"):
        rollback(made.job)
    assert builds.current_build(made.job) == second.build
    assert read_index_request(made.job) == IndexRequest("IVF16,Flat")
