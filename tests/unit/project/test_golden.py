"""Jobs that earlier versions wrote open in this one: the files are in tests/golden, one folder a format version."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from coordinator.integrity.findings import Checked
from coordinator.integrity.verify import verify
from coordinator.jobs.progress import ProgressReader
from shared.errors import JobMismatch
from shared.job import path_list
from shared.job.bundle.facts import BUNDLE_FORMAT
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.local.job_files import JobFiles
from shared.job.manifest import CHANGED_FORMAT, FORMAT, load_manifest
from shared.job.opened import open_job
from shared.job.partition import checkpoint, ledger, sealing
from shared.messages.shards import Held
from tests.support.make_job import image_path
from workers.search.searcher import Searcher

GOLDEN = Path(__file__).parents[2] / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.glob("format_*"))


def test_the_formats_that_are_written_now_have_their_golden_jobs() -> None:
    assert {f"format_{FORMAT}", f"format_{CHANGED_FORMAT}"} <= set(VERSIONS)
    assert (GOLDEN / f"shards_{builds.FORMAT_OF_SHARDS}").is_dir()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_finished_job_opens_counts_and_answers(version: str) -> None:
    job = JobDir.at(GOLDEN / version / "finished")
    job = open_job(job)
    progress = ProgressReader(job).read()
    assert (progress.listed, progress.embedded, progress.failed) == (20, 18, 2)
    assert progress.index_is_current
    seals = list(ledger.sealed(job))
    assert np.concatenate([ledger.check_ids(job, seal) for seal in seals]).tolist() == [
        image for image in range(20) if image not in (3, 14)
    ]
    second = sealing.open_embeddings(job.img_emb(1), rows=7, dim=8)
    build = builds.current_build(job)
    assert build is not None
    hits = Searcher.open(JobFiles.of(job), build).search(second[2].astype(np.float32), k=3)
    assert (hits[0].id, hits[0].similarity) == (15, pytest.approx(1, abs=1e-3))
    assert hits[0].image_path == path_list.read_paths(job, job.partition(1))[3]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_job_that_was_begun_shows_where_it_stands_and_goes_on_there(version: str, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / version / "begun", tmp_path / "begun")
    job = JobDir.at(tmp_path / "begun")
    job = open_job(job)
    progress = ProgressReader(job).read()
    assert (progress.embedded, progress.failed, progress.pending) == (17, 1, 2)
    assert progress.partitions == {"sealed": 1, "started": 1, "waiting": 0}
    partition = job.partition(1)
    assert [chunk.number for chunk in checkpoint.missing_chunks(job, partition)] == [1]
    table, embeddings = checkpoint.read_chunk(job, job.chunks(partition)[0])
    assert table["status"].to_pylist() == ["ok", "empty", "ok", "ok", "ok", "ok"]
    assert np.array_equal(embeddings, np.eye(8, dtype=np.float16)[:5])


@pytest.mark.parametrize("version", [version for version in VERSIONS if int(version[7:]) >= CHANGED_FORMAT])
def test_what_was_removed_stays_so(version: str) -> None:
    job = open_job(JobDir.at(GOLDEN / version / "finished"))
    assert job.state.removed.tolist() == [5, 14]
    assert ProgressReader(job).read().removed == 2
    build = builds.current_build(job)
    assert build is not None
    fifth = sealing.open_embeddings(job.img_emb(0), rows=11, dim=8)[4]
    found = Searcher.open(JobFiles.of(job), build).search(fifth.astype(np.float32), k=20)
    assert {hit.id for hit in found} == set(range(20)) - {3, 5, 14}
    begun = open_job(JobDir.at(GOLDEN / version / "begun"))
    assert (begun.state.removed.tolist(), begun.state.number) == ([0, 19], 1)


@pytest.mark.parametrize("version", sorted(path.name for path in GOLDEN.glob("shards_*")))
def test_an_index_of_shards_opens_and_answers(version: str) -> None:
    job = open_job(JobDir.at(GOLDEN / version / "finished"))
    progress = ProgressReader(job).read()
    assert progress.index_is_current
    assert progress.index is not None
    assert [len(rows) for rows in progress.index.ranges] == [6, 6, 6]
    second = sealing.open_embeddings(job.img_emb(1), rows=7, dim=8)
    for held, is_there in ((None, True), (Held.parsed("2"), True), (Held.parsed("0-1"), False)):
        searcher = Searcher.open(JobFiles.of(job), progress.index.build, held=held)
        assert (searcher.search(second[2].astype(np.float32), k=1)[0].id == 15) is is_there


def test_a_job_of_a_later_format_is_refused_with_both_versions_named(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / VERSIONS[-1] / "begun", tmp_path / "later")
    job = JobDir.at(tmp_path / "later")
    table = json.loads(job.spec.read_text()) | {"format": CHANGED_FORMAT + 1}
    job.spec.write_text(json.dumps(table))
    with pytest.raises(JobMismatch, match=rf"format {CHANGED_FORMAT + 1}.*formats {FORMAT}, {CHANGED_FORMAT} and"):
        load_manifest(job)


def test_a_bundle_opens_counts_and_answers() -> None:
    job = open_job(JobDir.at(GOLDEN / BUNDLE_FORMAT.replace("-", "_")))
    progress = ProgressReader(job).read()
    assert (progress.listed, progress.embedded, progress.failed, progress.pending) == (18, 17, 1, 0)
    assert not list(verify(job, Checked()))
    finished = open_job(JobDir.at(GOLDEN / f"format_{FORMAT}" / "finished"))
    second = sealing.open_embeddings(finished.img_emb(1), rows=7, dim=8)
    build = builds.current_build(job)
    assert build is not None
    hits = Searcher.open(JobFiles.of(job), build).search(second[2].astype(np.float32), k=20)
    assert (hits[0].id, hits[0].similarity) == (15, pytest.approx(1, abs=1e-3))
    assert {hit.id for hit in hits} == set(range(20)) - {3, 5, 14}


def test_a_compacted_job_opens_counts_and_answers_by_the_index_of_before() -> None:
    job = open_job(JobDir.at(GOLDEN / "format_2" / "compacted"))
    progress = ProgressReader(job).read()
    assert (progress.listed, progress.embedded, progress.failed, progress.pending) == (20, 17, 2, 0)
    assert (progress.removed, progress.purged, progress.index_is_current) == (2, 1, False)
    assert [one.number for one in job.partitions] == [2, 1]
    ids = np.concatenate([ledger.check_ids(job, seal) for seal in ledger.sealed(job)])
    assert ids.tolist() == [image for image in range(20) if image not in (3, 5, 14)]
    assert path_list.read_paths(job, job.partition(2))[4:7] == [image_path(4), "", image_path(6)]
    build = builds.current_build(job)
    assert build is not None
    first = sealing.open_embeddings(job.img_emb(2), rows=10, dim=8)
    searcher = Searcher.open(JobFiles.of(job), build)
    hits = searcher.search(first[4].astype(np.float32), k=20)
    assert (hits[0].id, hits[0].image_path, hits[0].similarity) == (6, image_path(6), pytest.approx(1, abs=1e-3))
    assert sorted(hit.id for hit in hits) == [image for image in range(20) if image not in (3, 5, 7, 14)]
