"""What a bundle needs beside tables and codes comes with it: the model's file, and where the photos are now."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import CorruptFile
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, with_manifest
from shared.job.source.moved import Moved, read_moved, write_moved
from shared.models.fusion import Fusion
from tests.support.make_job import make_job
from workers.merge.export.small_files import copy


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job whose model was given as a file."""
    made = make_job(tmp_path / "job", sealed=[]).job
    made.model_dir.mkdir()
    (made.model_dir / "mine.keras").write_bytes(b"weights")
    model = replace(
        made.manifest.model,
        weights="file",
        weights_file="mine.keras",
        weights_sha256=hashlib.sha256(b"weights").hexdigest(),
    )
    return with_manifest(made, replace(made.manifest, model=model))


def test_the_file_of_the_model_is_in_the_bundle(job: OpenJob, tmp_path: Path) -> None:
    bundle = JobDir.at(tmp_path / "bundle")
    copy(job, bundle)
    assert (bundle.model_dir / "mine.keras").read_bytes() == b"weights"
    assert not bundle.moved.exists()


def test_the_projection_of_a_fused_model_is_in_the_bundle(job: OpenJob, tmp_path: Path) -> None:
    fusion = Fusion(("head",), 3, hashlib.sha256(b"learned").hexdigest())
    (job.model_dir / fusion.projection_file).write_bytes(b"learned")
    job = with_manifest(job, replace(job.manifest, model=replace(job.manifest.model, fusion=fusion)))
    bundle = JobDir.at(tmp_path / "bundle")
    copy(job, bundle)
    assert (bundle.model_dir / fusion.projection_file).read_bytes() == b"learned"
    assert (bundle.model_dir / "mine.keras").read_bytes() == b"weights"
    (job.model_dir / fusion.projection_file).write_bytes(b"others!")
    with pytest.raises(CorruptFile, match=r"fusion_[0-9a-f]{16}\.npy has another checksum than job.json says"):
        copy(job, JobDir.at(tmp_path / "another"))


def test_another_file_than_the_model_is_made_of_is_refused(job: OpenJob, tmp_path: Path) -> None:
    (job.model_dir / "mine.keras").write_bytes(b"others!")
    with pytest.raises(CorruptFile, match=r"mine.keras has another checksum than job.json says: restore it"):
        copy(job, JobDir.at(tmp_path / "bundle"))


def test_where_the_source_moved_to_is_in_the_bundle(job: OpenJob, tmp_path: Path) -> None:
    moved = Moved("/photos", "/mnt/photos", {"/photos/a.jpg": "/mnt/photos/b.jpg"})
    write_moved(job, moved)
    bundle = JobDir.at(tmp_path / "bundle")
    copy(job, bundle)
    assert read_moved(bundle) == moved
