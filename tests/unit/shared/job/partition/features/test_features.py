"""Features beside the embeddings of a partition: what is stored is what was carried, of these images and no others."""

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import CorruptFile, JobMismatch
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.job.partition import checkpoint, ledger
from shared.job.partition.features import record
from shared.job.partition.features.counted import FeaturesCount, FeaturesReader
from shared.job.partition.features.files import ROW, FeatureRows
from shared.job.partition.features.marker import FeaturesSeal, read_features_seal, usable_features
from shared.job.partition.features.reading import open_features, read_hashes
from shared.job.partition.features.record import STORED_VERSION, ImageFeatures
from shared.job.partition.features.wanted import makes_features, want_features, wanted_features
from shared.job.partition.retry import Retry, take_back_seal
from tests.support.damage import DAMAGES, snapshot
from tests.support.featured import commit_featured, made_up, seal_featured, sha256_of, stored
from tests.support.kills import Killed, killed_at
from tests.support.make_job import make_job

FAILED = (3, 20)
WITHOUT = (5, 24)


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """60 images in partitions of 25, in chunks of 10, none of them embedded."""
    return make_job(tmp_path / "job", sealed=[]).job


def opened(job: OpenJob, number: int = 0) -> FeatureRows:
    rows = open_features(JobFiles.of(job), ledger.read_seal(job, number))
    assert rows is not None
    return rows


def test_each_embedded_image_has_the_features_that_its_chunk_carried(job: OpenJob) -> None:
    for number in range(3):
        seal_featured(job, number, FAILED, WITHOUT)
    expected = {image: None if image in WITHOUT else made_up(image) for image in range(60) if image not in FAILED}
    assert stored(job) == expected
    rows = opened(job)
    ids = np.load(job.img_emb(0)).shape[0], rows.ids.tolist()
    assert ids == (23, [image for image in range(25) if image not in FAILED])
    assert read_features_seal(job, 0).lacking == 2  # type: ignore[union-attr]


def test_they_are_read_with_numpy_as_the_docs_say(job: OpenJob) -> None:
    seal_featured(job, 0, FAILED)
    table = np.load(job.features_files(0)[0])
    data = job.features_files(0)[1].read_bytes()
    for row in table:
        features = ImageFeatures.from_bytes(made_up(int(row["id"])))
        assert row["pdq"].tobytes() == features.pdq
        assert row["quality"] == features.quality
        assert data[int(row["begin"]) : int(row["begin"]) + int(row["bytes"])] == features.local
        assert row["image"].tobytes().hex() == sha256_of(int(row["id"]))[:32]


def test_embeddings_metadata_and_errors_are_the_same_to_the_bit_with_features_and_without(tmp_path: Path) -> None:
    with_them, without = (make_job(tmp_path / name, sealed=[]).job for name in ("with", "without"))
    partition = with_them.partition(0)
    seal_featured(with_them, 0, FAILED)
    commit_featured(without, *without.chunks(partition), failed=FAILED, featured=False)
    seal = ledger.seal_partition(without, partition)
    assert [path.read_bytes() for path in with_them.sealed_files(0)] == [
        path.read_bytes() for path in without.sealed_files(0)
    ]
    assert seal.files == ledger.read_seal(with_them, 0).files
    assert without.features_numbers() == []
    assert open_features(JobFiles.of(without), seal) is None


def test_a_chunk_of_a_job_without_features_says_nothing_of_them(job: OpenJob) -> None:
    chunk = job.chunks(job.partition(0))[0]
    commit_featured(job, chunk, featured=False)
    table, _ = checkpoint.read_chunk(job, chunk)
    assert table.schema.names == checkpoint.CHUNK_SCHEMA.names
    assert "features" not in json.loads(table.schema.metadata[b"lookalike.chunk"])
    assert checkpoint.features_in(table) is None


def test_a_partition_of_which_one_chunk_has_no_features_has_none(job: OpenJob) -> None:
    first, *others = job.chunks(job.partition(0))
    commit_featured(job, first, featured=False)
    commit_featured(job, *others)
    seal = ledger.seal_partition(job, job.partition(0))
    assert job.features_numbers() == []
    assert usable_features(job, seal) is None


def test_features_of_another_version_are_no_features(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    seal_featured(job, 0)
    marker = read_features_seal(job, 0)
    assert marker is not None
    assert marker.version == STORED_VERSION
    job.features_seal(0).write_text(
        json.dumps(json.loads(job.features_seal(0).read_text()) | {"version": "others"}, indent=2) + "\n"
    )
    assert usable_features(job, ledger.read_seal(job, 0)) is None
    # Nor those of a chunk that another version committed.
    chunk = job.chunks(job.partition(1))[0]
    monkeypatch.setattr(checkpoint, "STORED_VERSION", "others")
    commit_featured(job, chunk)
    monkeypatch.undo()
    table, _ = checkpoint.read_chunk(job, chunk)
    assert checkpoint.features_in(table) is None


def test_features_of_other_embeddings_are_no_features(job: OpenJob) -> None:
    seal_featured(job, 0)
    seal = ledger.read_seal(job, 0)
    marker = usable_features(job, seal)
    assert marker is not None
    other = {name: entry | {"sha256": "0" * 64} for name, entry in seal.files.items()}
    assert not marker.is_of(job, replace(seal, files=other))
    assert not marker.is_of(job, replace(seal, embedded=seal.embedded - 1))
    assert open_features(JobFiles.of(job), replace(seal, files=other)) is None


def test_a_seal_without_features_takes_away_those_of_the_seal_before(job: OpenJob) -> None:
    seal_featured(job, 0, FAILED)
    take_back_seal(job, Retry(ledger.read_seal(job, 0), frozenset(FAILED), frozenset()))
    commit_featured(job, *job.chunks(job.partition(0)), featured=False)
    ledger.seal_partition(job, job.partition(0))
    assert job.features_numbers() == []


def test_a_kill_at_any_step_of_a_seal_leaves_features_that_are_whole_or_none(
    job: OpenJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = job.partition(0)
    commit_featured(job, *job.chunks(partition), failed=FAILED, without=WITHOUT)
    whole = tmp_path / "whole"
    shutil.copytree(job.path, whole)
    undisturbed = make_at(job, whole)
    ledger.seal_partition(undisturbed, partition)
    expected = stored(undisturbed)
    assert len(expected) == 23
    step, before_the_seal = 0, 0
    while True:
        path = tmp_path / f"killed {step}"
        shutil.copytree(job.path, path)
        killed = make_at(job, path)
        with killed_at(step, monkeypatch) as happened:
            with contextlib.suppress(Killed):
                ledger.seal_partition(killed, partition)
            done = happened() <= step
        if ledger.is_sealed(killed, 0):
            assert stored(killed) == expected, f"sealed after {step} steps, and its features are others"
        else:
            before_the_seal += 1
            ledger.seal_partition(killed, partition)
            assert stored(killed) == expected
        assert killed.features_numbers() == [0]
        if done:
            break
        step += 1
    assert before_the_seal >= 6  # Three sealed files, two of features, and their marker.


def make_at(job: OpenJob, path: Path) -> OpenJob:
    return OpenJob(path, job.manifest, job.state)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_before_it_is_copied_on_or_when_it_is_read(
    job: OpenJob, which: int, damage: Callable[[Path], None]
) -> None:
    seal_featured(job, 0)
    damage(job.features_files(0)[which])
    with pytest.raises(CorruptFile):
        open_features(JobFiles.of(job), ledger.read_seal(job, 0), check=True)
    with pytest.raises(CorruptFile):
        read_all(job)


def read_all(job: OpenJob) -> None:
    """Read each row as who copies it on does: for an id, and bytes that are known."""
    rows = opened(job)
    for row in range(len(rows)):
        # What is damaged may be the id, or by what the image is known, which only the SHA-256 tells.
        features = rows.features(row, sha256_of(row))
        if features is None or int(rows.table[row]["id"]) != row:
            raise CorruptFile("It is of no image that is asked for.")


def test_a_row_answers_for_the_bytes_of_its_image_alone(job: OpenJob) -> None:
    seal_featured(job, 0, without=[4])
    rows = opened(job)
    assert rows.features(2, sha256_of(2)) == ImageFeatures.from_bytes(made_up(2))
    assert rows.features(2, sha256_of(3)) is None
    assert rows.features(4) is None


def test_the_row_of_an_image_is_found_where_others_failed_too(job: OpenJob) -> None:
    seal_featured(job, 1, failed=[25, 40])
    rows = opened(job, 1)
    assert [rows.row_of(image) for image in (24, 25, 26, 39, 40, 41, 49, 50)] == [
        None, None, 0, 13, None, 14, 22, None
    ]  # fmt: skip


def test_the_pdqs_of_a_partition_are_read_without_its_local_features(job: OpenJob) -> None:
    seal_featured(job, 0, FAILED, WITHOUT)
    seal = ledger.read_seal(job, 0)
    marker = read_features_seal(job, 0)
    assert marker is not None
    job.features_files(0)[1].unlink()
    ids, hashes, quality = read_hashes(JobFiles.of(job), seal, marker)
    assert ids.tolist() == [image for image in range(25) if image not in (*FAILED, *WITHOUT)]
    for image, value, one in zip(ids.tolist(), hashes, quality, strict=True):
        expected = ImageFeatures.from_bytes(made_up(image))
        assert (value.tobytes(), int(one)) == (expected.pdq, expected.quality)
    table = job.features_files(0)[0]
    table.write_bytes(table.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptFile, match="another checksum"):
        read_hashes(JobFiles.of(job), seal, marker)


def test_a_partition_of_failed_images_has_features_of_none(job: OpenJob) -> None:
    seal_featured(job, 2, failed=range(50, 60))
    assert len(opened(job, 2)) == 0
    assert stored(job) == {}
    assert opened(job, 2).row_of(50) is None


@pytest.mark.parametrize(
    "wrong",
    [b"", b"{}\n", b'{"version": "x"}\n', b"not json\n"],
)
def test_a_marker_that_says_something_else_is_damaged_and_counts_for_nothing(job: OpenJob, wrong: bytes) -> None:
    seal_featured(job, 0)
    job.features_seal(0).write_bytes(wrong)
    with pytest.raises(CorruptFile, match="can't be read"):
        read_features_seal(job, 0)
    assert usable_features(job, ledger.read_seal(job, 0)) is None


def test_a_marker_of_another_partition_is_damaged(job: OpenJob) -> None:
    seal_featured(job, 0)
    shutil.copy(job.features_seal(0), job.features_seal(1))
    with pytest.raises(CorruptFile, match="partition 0"):
        read_features_seal(job, 1)


def test_what_a_job_wants_is_said_by_one_file(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wanted_features(job) is None
    assert makes_features(job) is False
    before = snapshot(job.path)
    want_features(job)
    assert wanted_features(job) == STORED_VERSION
    assert makes_features(job) is True
    assert set(snapshot(job.path)) - set(before) == {str(job.features_wanted)}
    assert job.spec.read_bytes() == before[str(job.spec)], "the manifest, and with it the fingerprint, is as it was"


def test_features_of_another_version_are_not_mixed_in(job: OpenJob) -> None:
    want_features(job)
    table = json.loads(job.features_wanted.read_text())
    job.features_wanted.write_text(json.dumps(table | {"version": "others"}, indent=2) + "\n")
    with pytest.raises(JobMismatch, match=r"'others'.*makes all of them anew") as caught:
        makes_features(job)
    assert caught.value.remedy is not None
    assert caught.value.remedy.given == {"copies": "on"}
    for wrong in ({"format": 2}, {"version": 3}):
        job.features_wanted.write_text(json.dumps(table | wrong, indent=2) + "\n")
        with pytest.raises(CorruptFile, match="can't be read"):
            makes_features(job)


def test_what_there_is_and_what_is_lacking_is_counted(job: OpenJob) -> None:
    reader = FeaturesReader()
    seal_featured(job, 0, FAILED, WITHOUT)
    commit_featured(job, *job.chunks(job.partition(1)), featured=False)
    ledger.seal_partition(job, job.partition(1))
    seals = list(ledger.sealed(job))
    size = sum(path.stat().st_size for path in job.features_files(0))
    expected = FeaturesCount(False, 1, 21, size, {"not stored before": 2})
    assert reader.read(job, seals) == expected
    want_features(job)
    assert reader.read(job, seals) == replace(expected, wanted=True, lacking=(1,))
    job.features_seal(0).unlink()
    assert reader.read(job, seals) == FeaturesCount(True, 0, 0, 0, {}, (0, 1))
    assert FeaturesReader().read(make_job(job.path.parent / "other").job, []) is None


def test_features_are_32_bytes_a_quality_and_local_ones() -> None:
    features = ImageFeatures(bytes(range(32)), 77, b"local")
    assert ImageFeatures.from_bytes(features.to_bytes()) == features
    for wrong in (b"", bytes(33), bytes([101]) + bytes(40)):
        with pytest.raises(CorruptFile, match="no features"):
            ImageFeatures.from_bytes(wrong)
    assert ROW.itemsize == 73
    assert record.PDQ_BYTES == 32
    assert FeaturesSeal.__slots__
