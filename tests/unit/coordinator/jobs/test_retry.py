import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coordinator.integrity.findings import Checked, Kind
from coordinator.integrity.partitions import PartitionFindings
from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.retry import failed_images, is_under_way, take_back
from shared.errors import CorruptFile, JobError, JobMismatch, SourceError
from shared.images.paths import to_text
from shared.job import path_list
from shared.job.changes.log import Change, write_change
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job, with_manifest
from shared.job.partition import ledger
from shared.job.partition.retry import read_retry
from shared.processes.control import Stopped
from tests.support.broken_photos import COUNTS, FAILED, broken_photos, embedded, made, mend, statuses
from tests.support.embedders import embed, no_after, sealed_bytes
from tests.support.kills import Killed, killed_at

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return broken_photos(tmp_path)


@pytest.fixture
def job(tmp_path: Path, photos: list[Path]) -> OpenJob:
    """The job, sealed."""
    new = made(tmp_path / "job", photos)
    assert embedded(new) == 45
    return new


@pytest.fixture
def expected(tmp_path: Path, photos: list[Path]) -> list[bytes]:
    """The sealed files of a job of the same images, all of which were whole from the beginning."""
    away = tmp_path / "broken"
    shutil.copytree(photos[0].parent, away)
    mend(photos)
    other = made(tmp_path / "other", photos)
    embedded(other)
    shutil.rmtree(photos[0].parent)
    away.rename(photos[0].parent)
    return sealed_bytes(other)


def test_failed_images_are_embedded_and_no_other_one_again(
    job: OpenJob, photos: list[Path], expected: list[bytes]
) -> None:
    assert failed_images(job) == COUNTS
    mend(photos)
    assert take_back(job) == COUNTS
    assert embedded(job) == 5
    assert sealed_bytes(job) == expected
    assert failed_images(job) == Counter()
    assert not list(job.ledger_dir.glob("*.retry.json"))


def test_images_that_still_fail_leave_the_files_as_they_were(job: OpenJob) -> None:
    before = sealed_bytes(job)
    assert take_back(job) == COUNTS
    assert embedded(job) == 0
    assert sealed_bytes(job) == before


@pytest.mark.parametrize(
    ("asked", "again"),
    [(["truncated"], {21, 33}), (["empty", "vanished"], {3, 30}), (["not-an-image"], {20})],
)
def test_only_images_of_the_asked_statuses_are_tried_again(
    job: OpenJob, photos: list[Path], asked: list[str], again: set[int]
) -> None:
    mend(photos)
    assert take_back(job, asked).total() == len(again)
    assert embedded(job) == len(again)
    assert statuses(job) == {image: status for image, status in FAILED.items() if image not in again}
    for number in (0, 1):
        ledger.check_ids(job, ledger.read_seal(job, number))


def test_a_partition_without_such_images_keeps_its_seal(job: OpenJob, photos: list[Path]) -> None:
    seal = job.seal(1).read_bytes()
    take_back(job, ["empty"])
    assert job.sealed_numbers() == [1]
    embedded(job)
    assert job.seal(1).read_bytes() == seal


@pytest.mark.parametrize("asked", [["trunctated"], ["truncated", "damaged"]])
def test_a_status_that_no_image_has_is_refused_with_those_that_are_there(job: OpenJob, asked: list[str]) -> None:
    before = sorted(job.path.rglob("*"))
    with pytest.raises(JobError, match=rf"failed as {asked[-1]}; .*2 truncated, 1 empty, 1 not-an-image, 1 vanished"):
        take_back(job, asked)
    assert sorted(job.path.rglob("*")) == before


def test_imported_vectors_are_not_tried_again(job: OpenJob) -> None:
    imported = replace(job.manifest.model, weights="none")
    assert imported.is_imported
    with pytest.raises(JobMismatch, match="imported from made up"):
        take_back(with_manifest(job, replace(job.manifest, model=imported)))


def test_an_image_that_was_removed_is_not_tried_again(job: OpenJob, photos: list[Path]) -> None:
    gone = [next(image for image, status in FAILED.items() if status == wanted) for wanted in ("empty", "vanished")]
    write_change(job, job.manifest, Change(1, "refresh", removed=np.array(sorted(gone), np.int64)))
    job = open_job(job)
    left = COUNTS - Counter(["empty", "vanished"])
    assert failed_images(job) == left
    mend(photos)
    assert take_back(job) == left
    assert embedded(job) == left.total()
    assert statuses(job) == {image: status for image, status in FAILED.items() if image in gone}


def test_a_retry_that_is_killed_at_any_step_loses_and_repeats_nothing(
    tmp_path: Path, job: OpenJob, photos: list[Path], expected: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    mend(photos)
    kills = 0
    while True:
        again = open_job(JobDir(shutil.copytree(job.path, tmp_path / f"job-{kills}")))
        with killed_at(kills, monkeypatch) as steps:
            try:
                take_back(again)
                embedded(again)
                break
            except Killed:
                assert steps() > kills
        for number in (0, 1):
            assert ledger.is_sealed(again, number) or read_retry(again, number)
        assert not verified(again, Kind.DAMAGE)
        take_back(again, going_on=True)
        assert embedded(again) <= 5
        assert sealed_bytes(again) == expected
        kills += 1
    assert kills > 20
    assert sealed_bytes(again) == expected


def verified(job: OpenJob, kind: Kind) -> list[str]:
    """The findings of this kind in the partitions of a job, whose made-up source has no digest to compare."""
    findings = PartitionFindings(job, Checked(), sure=True)
    stages = (findings.sealed, findings.unmarked, findings.retries, findings.chunks)
    return [finding.path for stage in stages for finding in stage() if finding.kind == kind]


def test_a_job_under_way_tries_again_what_failed_in_its_committed_chunks(
    tmp_path: Path, photos: list[Path], expected: list[bytes]
) -> None:
    job = made(tmp_path / "job", photos)
    with pytest.raises(Stopped):
        embed(job, may_commit=no_after(3))
    assert job.chunk_numbers(0) == [0, 1, 2]
    assert failed_images(job) == Counter({"empty": 1, "not-an-image": 1, "truncated": 1})
    mend(photos)
    assert take_back(job, ["empty", "truncated"]) == Counter({"empty": 1, "truncated": 1})
    assert job.chunk_numbers(0) == [1]
    assert is_under_way(job)
    assert take_back(job, going_on=True) == Counter({"not-an-image": 1})
    assert embedded(job) == 3 + 20
    assert sealed_bytes(job) == expected
    assert not job.chunk_dir(0).exists()


def test_more_may_be_asked_while_a_retry_waits_or_is_half_done(
    job: OpenJob, photos: list[Path], expected: list[bytes]
) -> None:
    mend(photos)
    take_back(job, ["empty"])
    take_back(job, ["truncated"], going_on=True)
    with pytest.raises(Stopped):
        embed(job, may_commit=no_after(2))
    assert job.chunk_numbers(0) == [0, 1]
    assert take_back(job, going_on=True) == Counter({"not-an-image": 1, "vanished": 1})
    embedded(job)
    assert sealed_bytes(job) == expected


def test_an_image_with_the_bytes_of_an_embedded_one_does_not_go_through_the_model(
    job: OpenJob, photos: list[Path]
) -> None:
    shutil.copy(photos[1], photos[3])  # In the same chunk.
    shutil.copy(photos[2], photos[20])  # In one before it.
    take_back(job, ["empty", "not-an-image"])
    assert embedded(job) == 0
    vectors = np.load(job.img_emb(0))
    ids = pq.read_table(job.metadata(0))["id"].to_pylist()
    for copy, original in ((3, 1), (20, 2)):
        assert np.array_equal(vectors[ids.index(copy)], vectors[ids.index(original)])


def test_images_that_are_out_of_reach_now_are_not_taken_for_lost(
    job: OpenJob, photos: list[Path], expected: list[bytes]
) -> None:
    mend(photos)
    take_back(job)
    photos[0].parent.rename(photos[0].parent.parent / "away")
    with pytest.raises(SourceError, match="out of reach"):
        embed(job)
    assert job.chunk_numbers(0) == []
    (photos[0].parent.parent / "away").rename(photos[0].parent)
    embedded(job)
    assert sealed_bytes(job) == expected


def test_failed_rows_that_are_kept_do_not_stop_the_retry_of_others(job: OpenJob, photos: list[Path]) -> None:
    mend(photos)  # Also the vanished image, which is not asked for, is back.
    take_back(job, ["truncated"])
    assert embedded(job) == 2
    assert statuses(job)[30] == "vanished"


@pytest.mark.parametrize("which", [0, 1, 2])
def test_where_what_is_kept_is_damaged_its_partition_is_embedded_again(
    job: OpenJob, photos: list[Path], expected: list[bytes], which: int
) -> None:
    mend(photos)
    take_back(job)
    path = job.sealed_files(0)[which]
    data = path.read_bytes()
    path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    assert verified(job, Kind.DAMAGE) == ["ledger/0000.retry.json"]
    assert embedded(job) == 30 + 2
    assert sealed_bytes(job) == expected


def test_a_seal_whose_files_are_damaged_is_not_taken_back(job: OpenJob) -> None:
    job.img_emb(0).write_bytes(b"short")
    with pytest.raises(CorruptFile, match=r"partition 0 .* are not what its seal says: a repair takes"):
        take_back(job)
    assert job.sealed_numbers() == [0, 1]


def test_progress_counts_what_is_kept_and_waits_for_what_is_tried_again(job: OpenJob) -> None:
    take_back(job, ["truncated", "empty"])
    progress = ProgressReader(job).read()
    assert (progress.embedded, progress.failed, progress.pending) == (45, 2, 3)
    assert not progress.complete
    with pytest.raises(Stopped):
        embed(job, may_commit=no_after(1))
    progress = ProgressReader(job).read()
    assert (progress.embedded, progress.failed, progress.pending) == (45, 3, 2)


def test_verify_and_repair_leave_a_retry_alone_and_remove_what_a_killed_one_left(
    job: OpenJob, photos: list[Path], expected: list[bytes]
) -> None:
    mend(photos)
    take_back(job)
    assert not verified(job, Kind.DAMAGE)
    assert not verified(job, Kind.LEFTOVER)
    marker = job.retry(0).read_bytes()
    embedded(job)
    job.retry(0).write_bytes(marker)
    assert not verified(job, Kind.LEFTOVER)  # It may be of a retry that is just about to take the seal back.
    os.utime(job.retry(0), (0, 0))
    assert verified(job, Kind.LEFTOVER) == ["ledger/0000.retry.json"]
    assert embedded(job) == 0
    assert sealed_bytes(job) == expected


def test_a_damaged_retry_marker_is_named_and_costs_no_more_than_its_partition(
    job: OpenJob, photos: list[Path], expected: list[bytes]
) -> None:
    mend(photos)
    take_back(job)
    job.retry(0).write_text('{"again": []}\n')
    with pytest.raises(CorruptFile, match=r"0000\.retry\.json can't be read .*: a repair removes it, and the next"):
        ProgressReader(job).read()
    assert verified(job, Kind.DAMAGE) == ["ledger/0000.retry.json"]
    job.retry(0).unlink()
    assert embedded(job) == 30 + 2
    assert sealed_bytes(job) == expected


def test_what_the_source_says_of_the_images_is_kept(tmp_path: Path, photos: list[Path]) -> None:
    job = made(tmp_path / "job", photos, known={"label": "string"})
    for partition in job.partitions:
        paths = [to_text(str(p)) for p in photos[partition.start : partition.stop]]
        labels = pa.array([f"label {image}" for image in range(partition.start, partition.stop)])
        path_list.write_paths(job, partition, paths, known={"label": labels})
    embedded(job)
    mend(photos)
    take_back(job)
    embedded(job)
    for number in (0, 1):
        rows = pq.read_table(job.metadata(number)).to_pylist()
        assert [row["label"] for row in rows] == [f"label {row['id']}" for row in rows]


def test_a_job_in_a_store_is_tried_again_as_well(photos: list[Path], expected: list[bytes]) -> None:
    job = made("memory://bucket-of-retries/job", photos)
    assert embedded(job) == 45
    mend(photos)
    assert take_back(job) == COUNTS
    assert ProgressReader(job).read().embedded == 45
    assert embedded(job) == 5
    assert sealed_bytes(job) == expected
    assert job.retry_numbers() == []
