import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.job.changes.log import Change, write_change
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.index.shards import Range
from shared.job.local.job_files import JobFiles
from shared.job.opened import open_job
from shared.job.partition import ledger
from shared.settings import Settings
from tests.support.compactions import compacted, remove
from tests.support.controls import UNWATCHED
from tests.support.make_job import MadeJob, clustered, grow_job, make_job, unit
from tests.support.once import made_once
from workers.merge import growth
from workers.merge.build import merge
from workers.search.candidates.width import Width
from workers.search.pool import SearcherPool
from workers.vectors.ann import faiss_index, training

VECTORS = clustered(5_000, 16)
FIRST = 2_000

pytestmark = pytest.mark.slow


class Killed(BaseException):
    pass


@pytest.fixture(params=["ivf-pq", "rabitq", "hnsw", "flat"])
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def built(tmp_path: Path, family: str) -> MadeJob:
    """A job of 2,000 embeddings with an index of this family, which is trained once and copied for each test."""

    def train(folder: Path) -> None:
        made = make_job(folder / "job", VECTORS[:FIRST], partition_size=1_000, chunk_size=500)
        write_index_request(made.job, IndexRequest(index=family, recall=0.9))
        merged(made)

    shutil.copytree(made_once(f"growth of {family}", train) / "job", tmp_path / "job")
    return MadeJob(open_job(JobDir.at(tmp_path / "job")), np.arange(FIRST), unit(VECTORS[:FIRST]).astype(np.float16))


def merged(made: MadeJob) -> IndexInfo:
    return merge(open_job(made.job), Settings(), UNWATCHED)


def finds_all(made: MadeJob) -> bool:
    """Whether the index holds the images: the width that is tuned to a recall of .9 need not find each by itself."""
    searcher = SearcherPool(Settings()).searcher(made.job).widened(Width(64, 500))
    return all(
        searcher.search(made.embeddings[row].astype(np.float32), 1)[0].id == made.ids[row]
        for row in range(0, len(made.ids), 97)
    )


def test_the_promoted_index_takes_what_was_sealed_since_and_is_not_trained_again(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = built(tmp_path, family)
    first = builds.current_info(made.job)
    assert first is not None
    grown = grow_job(made, VECTORS[FIRST:2_300])
    monkeypatch.setattr(training, "train", None)
    info = merged(grown)
    assert (info.grown_from, info.trained_for, info.ntotal) == (first.build, FIRST, 2_300)
    assert (info.factory, info.nlist, info.train_rows) == (first.factory, first.nlist, first.train_rows)
    assert info.recall_at_10 is not None
    assert info.recall_at_10 >= 0.85
    assert "training" not in info.seconds
    assert builds.current_build(made.job) == info.build
    assert finds_all(grown)
    again = merged(grow_job(grown, VECTORS[2_300:2_400]))
    assert (again.grown_from, again.trained_for, again.ntotal) == (info.build, FIRST, 2_400)
    assert merged(grown) == again, "what is promoted already covers the job"


def test_past_twice_what_it_was_trained_for_an_index_is_trained_again(tmp_path: Path) -> None:
    made = built(tmp_path, "ivf-pq")
    grown = grow_job(made, VECTORS[FIRST:4_000])
    assert merged(grown).trained_for == FIRST
    info = merged(grow_job(grown, VECTORS[4_000:4_001]))
    assert (info.grown_from, info.trained_for, info.ntotal) == ("", 0, 4_001)


def damage(made: MadeJob) -> None:
    build = builds.current_build(made.job)
    assert build is not None
    path = made.job.build_dir(build) / builds.INDEX_FILE
    path.write_bytes(path.read_bytes()[:-1])


WHY = {
    "another index was asked for": lambda made: write_index_request(made.job, IndexRequest(index="flat", recall=0.9)),
    "another recall was asked for": lambda made: write_index_request(
        made.job, IndexRequest(index="ivf-pq", recall=0.8)
    ),
    "the index is damaged": damage,
}


@pytest.mark.parametrize("why", WHY)
def test_an_index_that_can_not_grow_is_built_from_scratch(tmp_path: Path, why: str) -> None:
    made = built(tmp_path, "ivf-pq")
    grown = grow_job(made, VECTORS[FIRST:2_300])
    WHY[why](made)
    info = merged(grown)
    assert (info.grown_from, info.ntotal) == ("", 2_300)
    assert finds_all(grown)


@pytest.mark.parametrize("at", [1, 2])
def test_a_growth_that_is_killed_goes_on_and_holds_each_image_once(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = built(tmp_path, "ivf-pq")
    serving = builds.current_build(made.job)
    grown = grow_job(grow_job(made, VECTORS[FIRST:2_300]), VECTORS[2_300:2_500])
    add, calls = faiss_index.add, []

    def killed(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == at:
            raise Killed
        add(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(faiss_index, "add", killed)
        with pytest.raises(Killed):
            merged(grown)
    assert builds.current_build(made.job) == serving
    info = merged(grown)
    assert (info.ntotal, info.grown_from) == (2_500, serving)
    (index,) = made.job.build_dir(info.build).glob(builds.INDEX_FILE)
    assert faiss_index.load(index, ntotal=2_500, dim=16).ntotal == 2_500
    assert finds_all(grown)


@pytest.mark.parametrize("reached", [0.95, 0.2])
def test_where_the_former_width_finds_too_little_a_wider_one_is_looked_for(tmp_path: Path, reached: float) -> None:
    """However little the former build found: else each growth could find less than the one before."""
    made = built(tmp_path, "ivf-pq")
    build = builds.current_build(made.job)
    assert build is not None
    path = made.job.build_dir(build) / builds.INFO_FILE
    table = json.loads(path.read_text())
    narrow = {"nprobe": 1, "rerank_depth": 10, "list_margin": 1e-6, "recall_at_10": reached}
    path.write_text(json.dumps(table | narrow, indent=2) + "\n")
    info = merged(grow_job(made, VECTORS[FIRST:2_300]))
    assert info.grown_from == build
    assert info.recall_at_10 is not None
    assert info.recall_at_10 >= 0.9
    assert len(info.sweep) > 1


def test_images_that_were_removed_are_measured_with_the_others_and_found_by_nobody(tmp_path: Path) -> None:
    made = built(tmp_path, "ivf-pq")
    grown = grow_job(made, VECTORS[FIRST:2_300])
    job = open_job(grown.job)
    write_change(job, job.manifest, Change(2, "delete", removed=np.arange(50)))
    assert merged(grown).ntotal == 2_300
    searcher = SearcherPool(Settings()).searcher(job)
    assert searcher.ntotal == 2_250
    assert min(hit.id for hit in searcher.search(VECTORS[0], 100)) >= 50


def test_an_index_gives_up_what_was_purged_and_is_not_trained_again(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = built(tmp_path, family)
    first = builds.current_info(made.job)
    assert first is not None
    made = grow_job(made, VECTORS[FIRST:2_100])
    gone = [*range(0, FIRST, 9), 2_050]
    remove(made.job, *gone)
    compacted(made.job)
    if family != "hnsw":  # A graph gives nothing up.
        monkeypatch.setattr(training, "train", None)
    info = merged(made)
    assert info.ntotal == 2_100 - len(gone)
    assert info.grown_from == ("" if family == "hnsw" else first.build)
    assert info.recall_at_10 is not None
    assert info.recall_at_10 >= 0.85
    index = faiss_index.load(made.job.build_dir(info.build) / builds.INDEX_FILE, ntotal=info.ntotal, dim=16)
    found = faiss_index.candidates(index, made.embeddings[:50].astype(np.float32), 500, 2_000)
    assert not np.isin(found, gone).any()
    kept = ~np.isin(made.ids, gone)
    assert finds_all(MadeJob(made.job, made.ids[kept], made.embeddings[kept]))


def test_an_index_that_holds_another_number_than_it_says_is_filled_from_the_first_embedding_on(tmp_path: Path) -> None:
    made = built(tmp_path, "flat")
    remove(made.job, 0, 1_500)
    compacted(made.job)
    job = open_job(made.job)
    seals = list(ledger.sealed(job))
    request = IndexRequest(index="flat", recall=0.9)
    grown = growth.former(job, JobFiles.of(job), seals, request, faiss_index.plan_for(FIRST - 2, 16, request))
    assert grown is not None
    assert (grown.ranges, grown.info.ntotal, grown.known) == ([Range(0, FIRST - 2)], FIRST, frozenset())
    (tmp_path / "right").mkdir()
    grown.begin(tmp_path / "right")
    assert faiss_index.load(tmp_path / "right" / builds.FILLING_FILE, ntotal=FIRST - 2, dim=16)
    (tmp_path / "wrong").mkdir()
    replace(grown, purged=np.array([0])).begin(tmp_path / "wrong")
    assert not (tmp_path / "wrong" / builds.FILLING_FILE).exists()


def test_an_index_of_far_fewer_than_it_was_trained_for_is_trained_again(tmp_path: Path) -> None:
    made = built(tmp_path, "ivf-pq")
    remove(made.job, *range(1_200))
    compacted(made.job)
    info = merged(made)
    assert (info.ntotal, info.grown_from) == (800, "")
