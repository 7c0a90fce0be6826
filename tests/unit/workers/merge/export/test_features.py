"""A bundle has the features of its job, but for those of removed images, so that it gives verdicts without photos."""

from pathlib import Path

import pytest

from coordinator.integrity.findings import Checked
from coordinator.integrity.verify import verify
from shared.errors import CorruptFile
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.job.partition.features.record import ImageFeatures
from shared.job.partition.features.wanted import want_features
from shared.settings import Settings
from tests.support.bundles import bundle_of
from tests.support.compactions import remove
from tests.support.controls import UNWATCHED
from tests.support.damage import flip, snapshot
from tests.support.featured import commit_featured, made_up, seal_featured, stored
from tests.support.kills import Killed, killed_at
from tests.support.make_job import make_job
from workers.merge.build import merge

pytestmark = pytest.mark.slow

FAILED, WITHOUT, GONE = (3, 40), (5, 30), (0, 3, 7, 24, 59)


@pytest.fixture(autouse=True)
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.merge.export.measure.QUERIES", 5)


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """60 images in partitions of 25; the last one has no features, and the others those of nearly all images."""
    job = make_job(tmp_path / "job", sealed=[]).job
    want_features(job)
    for number in (0, 1):
        seal_featured(job, number, FAILED, WITHOUT)
    commit_featured(job, *job.chunks(job.partition(2)), featured=False)
    ledger.seal_partition(job, job.partition(2))
    merge(job, Settings(), UNWATCHED)
    return job


def test_what_is_left_has_the_features_of_its_job_and_nothing_is_there_of_what_was_removed(
    job: OpenJob, tmp_path: Path
) -> None:
    remove(job, *GONE)
    bundle = bundle_of(open_job(job), tmp_path / "bundle")
    left = [image for image in range(50) if image not in (*FAILED, *GONE)]
    assert stored(bundle) == {image: None if image in WITHOUT else made_up(image) for image in left}
    everything = b"".join(snapshot(bundle.path).values())
    for image, is_there in ((1, True), *((gone, False) for gone in (0, 7, 24))):
        features = ImageFeatures.from_bytes(made_up(image))
        assert (features.local in everything) == (features.pdq in everything) == is_there, image
    assert list(verify(bundle, Checked())) == []
    flip(bundle.features_files(0)[1])
    assert [found.path for found in verify(bundle, Checked())] == ["features/features_0000.bin"]


def test_an_export_that_is_killed_while_it_writes_features_is_finished_by_the_next(
    job: OpenJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stored(bundle_of(job, tmp_path / "whole"))
    for step in range(4, 9):  # From the first files of the first partition to its seal.
        place = tmp_path / f"bundle {step}"
        with killed_at(step, monkeypatch), pytest.raises(Killed):
            bundle_of(job, place)
        assert stored(bundle_of(job, place)) == whole


def test_damaged_features_are_not_carried_on(job: OpenJob, tmp_path: Path) -> None:
    flip(job.features_files(1)[0])
    with pytest.raises(CorruptFile, match="another checksum"):
        bundle_of(job, tmp_path / "bundle")
