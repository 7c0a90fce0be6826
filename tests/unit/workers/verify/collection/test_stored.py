"""Local features that a job stores are those of its decoded images, and are read by the id of an image."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from shared.job.partition.features.record import ImageFeatures
from shared.settings import Settings
from tests.support.embedders import embed
from tests.support.featured import features_alone, job_of, photos
from workers.verify.collection import stored
from workers.verify.collection.stored import StoredFeatures
from workers.verify.features import LocalFeatures

COUNT = 15


def test_the_features_of_each_image_are_read_by_its_id(tmp_path: Path) -> None:
    images = photos(tmp_path / "photos", COUNT)
    images[5].write_bytes(b"this is no image")
    job = job_of(tmp_path / "job", images)
    features = StoredFeatures(Settings())
    assert features.of(job, 3) is None
    for partition in job.partitions:
        embed(job, partition.number)
    found = StoredFeatures(Settings())
    for number in (0, 3, 11, 12, 14):
        wanted = LocalFeatures.from_bytes(ImageFeatures.from_bytes(features_alone(images[number])).local)
        ours = found.of(job, number)
        assert ours is not None
        np.testing.assert_array_equal(ours.bits, wanted.bits)
        np.testing.assert_array_equal(ours.points, wanted.points)
    assert found.of(job, 5) is None
    sha256 = hashlib.sha256(images[3].read_bytes()).hexdigest()
    assert found.of(job, 3, sha256) is not None
    assert found.of(job, 4, sha256) is None


def test_that_a_partition_has_none_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "LACKING_SECONDS", 0.0)
    job = job_of(tmp_path / "job", photos(tmp_path / "photos", 3))
    features = StoredFeatures(Settings())
    assert features.of(job, 1) is None
    embed(job)
    assert features.of(job, 1) is not None


def test_what_is_damaged_counts_as_not_stored_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = job_of(tmp_path / "job", photos(tmp_path / "photos", 3))
    embed(job)
    path = job.features_files(0)[1]
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(bytes(data))
    features = StoredFeatures(Settings())
    assert features.of(job, 0) is None
    assert "Its image is decoded instead." in caplog.text
    assert features.of(job, 1) is not None
