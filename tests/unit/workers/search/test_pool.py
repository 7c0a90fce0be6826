from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import CorruptFile, JobNotFound, NoIndexYet
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.job.partition.ledger import Seal
from shared.settings import Settings
from shared.storage import files
from tests.support.bundles import bundle_of
from tests.support.compactions import compacted, remove
from tests.support.controls import UNWATCHED
from tests.support.damage import cut
from tests.support.make_job import MadeJob, grow_job, make_job
from workers.merge.build import merge
from workers.search.pool import SearcherPool
from workers.search.searcher import Searcher
from workers.vectors.ann import faiss_index


def merged(made: MadeJob) -> str:
    return merge(made.job, Settings(recall_target=0.01), UNWATCHED).build


def promote_copy(made: MadeJob, build: str, name: str) -> None:
    """Promote a second build with the files of the first."""
    source, target = made.job.build_dir(build), made.job.build_dir(name)
    target.mkdir()
    for path in source.iterdir():
        files.write_bytes(target / path.name, path.read_bytes())
    builds.write_info(made.job, replace(builds.read_info(made.job, build), build=name, rerank_depth=17))
    builds.promote(made.job, name)


def test_the_pool_keeps_a_searcher_until_a_newer_build_is_promoted(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    pool = SearcherPool(Settings())
    build = merged(made)
    first = pool.searcher(made.job)
    assert pool.searcher(made.job) is first
    depth = first.width.depth
    assert depth != 17
    promote_copy(made, build, "0002-ab")
    second = pool.searcher(made.job)
    assert second is not first
    assert second.width.depth == 17
    builds.promote(made.job, build)
    assert pool.searcher(made.job).width.depth == depth


def test_the_pool_keeps_the_jobs_asked_for_last(tmp_path: Path) -> None:
    one, two, three = (make_job(tmp_path / name, listed=5) for name in ("one", "two", "three"))
    for made in (one, two, three):
        merged(made)
    pool = SearcherPool(Settings(open_jobs=2))
    first, second = pool.searcher(one.job), pool.searcher(two.job)
    assert pool.searcher(one.job) is first
    pool.searcher(three.job)
    assert pool.searcher(one.job) is first
    assert pool.searcher(two.job) is not second


def test_the_pool_says_when_there_is_nothing_to_search(tmp_path: Path) -> None:
    pool = SearcherPool(Settings())
    made = make_job(tmp_path / "job", sealed=[])
    with pytest.raises(NoIndexYet, match=r"no index yet, and nothing of it is embedded: 0 of 60 images: indexing"):
        pool.searcher(made.job)
    with pytest.raises(JobNotFound, match="no job at"):
        pool.searcher(JobDir.at(tmp_path / "nowhere"))


def grown(tmp_path: Path) -> MadeJob:
    """A job with an index, and two small partitions that it does not cover."""
    made = make_job(tmp_path / "job")
    merged(made)
    for seed in (1, 2):
        made = grow_job(made, np.random.default_rng(seed).normal(size=(4, 16)))
    return made


def ids_of(found: Searcher, made: MadeJob) -> list[int]:
    """The first hit of each image of the job that is asked for."""
    return [found.search(vector.astype(np.float32), 1)[0].id for vector in made.embeddings]


def test_a_job_that_is_compacted_is_opened_anew_and_its_index_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, pool = grown(tmp_path), SearcherPool(Settings())
    first = pool.searcher(made.job)
    monkeypatch.setattr(faiss_index, "load", None)
    compacted(made.job)
    second, job = pool.opened(made.job)
    assert second is not first
    assert [one.number for one in job.partitions] == [0, 1, 2, 5]
    assert ids_of(second, made) == made.ids.tolist()
    assert pool.searcher(made.job) is second
    for number in (3, 6):  # What a compaction writes before its change, and has not removed yet, is none of its own.
        made.job.seal(number).write_text("{}")
    assert pool.searcher(made.job) is second


@pytest.mark.parametrize("again", [False, True])
def test_what_a_compaction_takes_away_while_a_job_is_opened_is_found_where_it_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    made, pool = grown(tmp_path), SearcherPool(Settings())
    if again:
        pool.searcher(made.job)
        remove(made.job, 5)
    real, rest = ledger.sealed, iter([lambda: compacted(made.job)])

    def overtaken(job: OpenJob) -> Iterator[Seal]:
        next(rest, lambda: None)()
        return real(job)

    monkeypatch.setattr(ledger, "sealed", overtaken)
    found, job = pool.opened(made.job)
    assert job.state.number == open_job(made.job).state.number > 2
    kept = [image for image in made.ids.tolist() if not (again and image == 5)]
    assert [image for image in ids_of(found, made) if image in kept][-8:] == kept[-8:]
    assert found.ntotal == len(kept)


def test_a_damaged_bundle_says_that_it_is_to_be_copied_anew(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    merged(made)
    bundle = bundle_of(made.job, tmp_path / "bundle")
    searcher = SearcherPool(Settings()).searcher(bundle)
    assert searcher.search(made.embeddings[7].astype("float32"), 1)[0].id == 7
    cut(bundle.img_emb(1))
    with pytest.raises(
        CorruptFile, match=r"img_emb_0001.npy have .* bytes; .* int8 make .* This is a bundle of the job"
    ):
        SearcherPool(Settings()).searcher(bundle)
    build = builds.current_build(bundle)
    assert build is not None
    cut(bundle.build_dir(build) / builds.INDEX_FILE)
    with pytest.raises(CorruptFile, match=r"index.faiss .*: copy it anew, or export the job again\.$"):
        SearcherPool(Settings()).searcher(bundle)
