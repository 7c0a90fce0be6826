"""Features made while a partition is embedded: they change no embedding, and a kill loses no more than a chunk."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from coordinator.integrity.findings import Checked
from coordinator.integrity.verify import verify
from coordinator.jobs.retry import take_back
from shared.errors import JobMismatch
from shared.images.location import Location
from shared.job.opened import OpenJob
from shared.job.partition import checkpoint, ledger
from shared.job.partition.features import wanted
from shared.job.partition.features.marker import read_features_seal, remove_features
from shared.job.partition.features.record import STORED_VERSION, ImageFeatures
from shared.processes.control import Stopped
from tests.support.embedders import SIZE, FakeEmbedder, embed, no_after, sealed_bytes
from tests.support.featured import features_alone, job_of, photos, stored
from workers.images.isolated import IsolatedReaders
from workers.images.read import read_image
from workers.verify.features import FEATURES_VERSION, LocalFeatures, local_features
from workers.verify.pdq import pdq

COUNT = 20
COPY, ORIGINAL, FAR_COPY = 7, 2, 17
BROKEN = 5


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty images: one is broken, and two have the bytes of another one."""
    paths = photos(tmp_path_factory.mktemp("photos"), COUNT)
    shutil.copy(paths[ORIGINAL], paths[COPY])
    shutil.copy(paths[ORIGINAL], paths[FAR_COPY])
    paths[BROKEN].write_bytes(b"this is no image")
    return paths


@pytest.fixture(scope="module")
def expected(images: list[Path]) -> dict[int, bytes]:
    return {number: features_alone(path) for number, path in enumerate(images) if number != BROKEN}


def test_the_version_names_what_makes_the_features() -> None:
    assert f"{FEATURES_VERSION} pdq-1" == STORED_VERSION


def test_features_are_stored_of_each_image_and_change_no_embedding(
    images: list[Path], expected: dict[int, bytes], tmp_path: Path
) -> None:
    job, plain = job_of(tmp_path / "job", images), job_of(tmp_path / "plain", images, wanted=False)
    for one in (job, plain):
        embed(one, 0)
        embed(one, 1)
    assert stored(job) == expected
    assert stored(plain) == {}
    assert sealed_bytes(job) == sealed_bytes(plain)
    assert ledger.read_seal(job, 0).files == ledger.read_seal(plain, 0).files
    assert [finding.wrong for finding in verify(job, Checked()) if "dimensions" not in finding.wrong] == []


def test_they_are_the_pdq_and_the_local_features_of_the_image(images: list[Path], expected: dict[int, bytes]) -> None:
    image = np.asarray(cv2.cvtColor(np.asarray(cv2.imread(str(images[0]))), cv2.COLOR_BGR2RGB), np.uint8)
    features = ImageFeatures.from_bytes(expected[0])
    value, quality = pdq(image)
    assert (features.pdq, features.quality) == (value.tobytes(), quality)
    assert features.local == local_features(image).to_bytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_keypoints_are_in_pixels_of_the_upright_image_however_it_was_reduced(orientation: int, tmp_path: Path) -> None:
    """A JPEG of 1,200 x 900 is decoded at an eighth for a model of 8 pixels; the features are of the whole."""
    from PIL import Image

    path = tmp_path / "photo.jpg"
    big = cv2.resize(np.asarray(cv2.imread(str(photos(tmp_path, 1)[0]))), (1_200, 900), interpolation=cv2.INTER_CUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(cv2.cvtColor(big, cv2.COLOR_BGR2RGB)).save(path, exif=exif, quality=95)
    read = read_image(Location(str(path)), SIZE, 10**7, 10**7, features=True)
    assert read.features is not None
    local = LocalFeatures.from_bytes(ImageFeatures.from_bytes(read.features).local)
    assert (local.width, local.height) == ((1_200, 900) if orientation < 5 else (900, 1_200))
    assert (read.width, read.height) == (1_200, 900)
    upright = np.asarray(cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB), np.uint8)
    assert upright.shape[:2] == (local.height, local.width)
    small = cv2.cvtColor(cv2.resize(upright, local.grey.shape[::-1], interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    assert np.abs(small.astype(int) - local.grey).mean() < 6


def test_a_process_of_its_own_makes_the_same_features(images: list[Path], expected: dict[int, bytes]) -> None:
    with IsolatedReaders(SIZE, 10**6, 10**6, features=True) as readers:
        found = [readers.read(Location(str(images[number]))) for number in (0, 1, BROKEN)]
    assert [image.features for image in found] == [expected[0], expected[1], None]
    here = read_image(Location(str(images[1])), SIZE, 10**6, 10**6)
    assert here.features is None
    np.testing.assert_array_equal(found[1].pixels, here.pixels)


@pytest.mark.parametrize("commits", range(3))
def test_a_kill_loses_the_chunk_under_way_and_no_other(
    images: list[Path], expected: dict[int, bytes], tmp_path: Path, commits: int
) -> None:
    job = job_of(tmp_path / "job", images)
    with pytest.raises(Stopped):
        embed(job, 0, may_commit=no_after(commits))
    assert job.chunk_numbers(0) == list(range(commits))
    for number in range(commits):
        table, _ = checkpoint.read_chunk(job, job.chunks(job.partition(0))[number])
        ids = table["id"].to_pylist()
        assert checkpoint.features_in(table) == [expected.get(image) for image in ids]
    again = FakeEmbedder()
    embed(job, 0, embedder=again)
    assert stored(job) == {image: one for image, one in expected.items() if image < 12}
    # Each image went through the model once, but for those of equal bytes.
    assert sum(again.batches) == len({images[i].read_bytes() for i in range(4 * commits, 12) if i != BROKEN}) - (
        1 if commits == 1 else 0
    )


def test_images_of_equal_bytes_share_features_within_a_chunk_a_partition_and_a_job(
    images: list[Path], expected: dict[int, bytes], tmp_path: Path
) -> None:
    job = job_of(tmp_path / "job", [*images[:4], images[ORIGINAL], *images[5:]])
    embed(job, 0)
    embedder = FakeEmbedder()
    embed(job, 1, embedder=embedder)
    assert sum(embedder.batches) == 7  # Of eight, one is known by partition 0.
    found = stored(job)
    assert found[4] == found[COPY] == found[FAR_COPY] == found[ORIGINAL] == expected[ORIGINAL]


def test_bytes_whose_embedding_is_known_and_whose_features_are_not_are_read_whole(
    images: list[Path], expected: dict[int, bytes], tmp_path: Path
) -> None:
    job, whole = job_of(tmp_path / "job", images), job_of(tmp_path / "whole", images)
    embed(job, 0)
    remove_features(job, 0)
    embedder = FakeEmbedder()
    embed(job, 1, embedder=embedder)
    assert sum(embedder.batches) == 8
    assert stored(job) == {image: one for image, one in expected.items() if image >= 12}
    embed(whole, 0)
    embed(whole, 1)
    assert sealed_bytes(job) == sealed_bytes(whole)


def test_a_retry_keeps_the_features_of_the_other_rows(
    images: list[Path], tmp_path: Path, expected: dict[int, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(images[0].parent, folder)
    paths = [folder / path.name for path in images]
    job = job_of(tmp_path / "job", paths)
    embed(job, 0)
    embed(job, 1)
    paths[BROKEN].write_bytes((new := photos(tmp_path / "new", 1, seed=5)[0]).read_bytes())
    take_back(job)
    assert job.features_seal(0).is_file()
    embedder = FakeEmbedder()
    embed(job, 0, embedder=embedder)
    assert sum(embedder.batches) == 1
    assert stored(job) == expected | {BROKEN: features_alone(new)}


@pytest.mark.parametrize("damaged", [False, True])
def test_a_retry_of_rows_without_features_leaves_them_to_be_made(
    images: list[Path], tmp_path: Path, *, damaged: bool
) -> None:
    job = job_of(tmp_path / "job", images)
    embed(job, 0)
    if damaged:
        data = job.features_files(0)[1]
        data.write_bytes(data.read_bytes()[:-1] + b"x")
    else:
        remove_features(job, 0)
    take_back(job)
    embed(job, 0)
    assert stored(job) == {}
    assert job.features_numbers() == []


def test_a_retry_of_a_chunk_that_was_taken_back_keeps_its_features(
    images: list[Path], tmp_path: Path, expected: dict[int, bytes]
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(images[0].parent, folder)
    paths = [folder / path.name for path in images]
    job = job_of(tmp_path / "job", paths)
    with pytest.raises(Stopped):
        embed(job, 0, may_commit=no_after(2))
    shutil.copy(images[0], paths[BROKEN])
    take_back(job)
    assert job.retry_chunk_numbers(0) == [1]
    embed(job, 0)
    assert stored(job) == {image: one for image, one in expected.items() if image < 12} | {BROKEN: expected[0]}


def test_features_that_are_wanted_from_the_middle_of_a_partition_on_are_none_of_it(
    images: list[Path], tmp_path: Path, expected: dict[int, bytes]
) -> None:
    job = job_of(tmp_path / "job", images, wanted=False)
    with pytest.raises(Stopped):
        embed(job, 0, may_commit=no_after(1))
    wanted.want_features(job)
    embed(job, 0)
    embed(job, 1)
    assert stored(job) == {image: one for image, one in expected.items() if image >= 12}
    assert read_features_seal(job, 0) is None


def test_a_worker_of_another_version_makes_none_and_says_so(
    images: Sequence[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job: OpenJob = job_of(tmp_path / "job", images)
    monkeypatch.setattr(wanted, "STORED_VERSION", "others")
    with pytest.raises(JobMismatch, match="this version of lookalike makes 'others'"):
        embed(job, 0)
    assert job.chunk_numbers(0) == []
