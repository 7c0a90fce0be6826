"""Thumbnails are of the photos that were embedded; what can't be read is counted, and ends nothing."""

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from shared.errors import CorruptFile, ImageError, SourceError
from shared.images.location import Location
from shared.job import path_list
from shared.job.bundle.facts import Bundle
from shared.job.bundle.stored_image import read_image
from shared.job.bundle.thumbnails import read_thumbnail
from shared.job.directory import JobDir
from shared.job.manifest import Manifest, Source
from shared.job.opened import OpenJob, with_manifest
from shared.job.source.moved import NOT_MOVED, Moved
from shared.storage import parquet
from tests.support.damage import cut
from tests.support.images.photographs import make_photos
from tests.support.make_job import model_spec
from workers.merge.export import thumbnails
from workers.merge.export.thumbnails import ThumbnailMaker, without_thumbnail

pytestmark = pytest.mark.slow

COUNT = 6


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return make_photos(tmp_path / "photos", COUNT)


@pytest.fixture
def job(tmp_path: Path, photos: list[Path]) -> OpenJob:
    """The photos as the images 0 to 5 of a job, whose image 2 failed."""
    manifest = Manifest(
        source=Source("folder", str(photos[0].parent), "0" * 64), model=model_spec(), listed=COUNT, partition_size=10,
        chunk_size=10, max_image_pixels=10**8, max_image_bytes=10**8,
    )  # fmt: skip
    job = with_manifest(JobDir.at(tmp_path / "job"), manifest)
    path_list.write_paths(job, job.partition(0), [str(path) for path in photos])
    return job


def rows_of(photos: list[Path]) -> pa.Table:
    kept = [image for image in range(COUNT) if image != 2]
    sums = [hashlib.sha256(photos[image].read_bytes()).hexdigest() for image in kept]
    return pa.table({"id": pa.array(kept, pa.int64()), "sha256": pa.array(sums, pa.string())})


@pytest.fixture
def bundle(tmp_path: Path, job: OpenJob, photos: list[Path]) -> OpenJob:
    facts = Bundle(
        job="job", job_identity="", change=0, removed=0, recall_at_10=None, queries=0, error_p99=0, error_most=0,
        thumbnails=64, without_thumbnail=0, at=0, made_by="", files={},
    )  # fmt: skip
    manifest = Manifest(
        source=job.manifest.source, model=job.manifest.model, listed=COUNT, partition_size=10, chunk_size=10,
        max_image_pixels=10**8, max_image_bytes=10**8, bundle=facts,
    )  # fmt: skip
    bundle = with_manifest(JobDir.at(tmp_path / "bundle"), manifest)
    bundle.metadata(0).parent.mkdir(parents=True)
    rows = rows_of(photos)
    with parquet.writer(bundle.metadata(0), rows.schema) as into:
        into.write_table(rows)
    return bundle


def made(
    job: OpenJob, bundle: OpenJob, rows: pa.Table, moved: Moved = NOT_MOVED, suspects: tuple[int, ...] = ()
) -> ThumbnailMaker:
    maker, count = ThumbnailMaker(job, moved, 64, suspects=suspects), []
    maker.write(bundle, job.partition(0), rows, lambda: count.append(1))
    assert len(count) == len(rows)
    return maker


def pixels(jpeg: bytes) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return found


def test_each_image_has_its_own_thumbnail(job: OpenJob, bundle: OpenJob, photos: list[Path]) -> None:
    maker = made(job, bundle, rows_of(photos))
    assert not maker.lost.reasons
    assert without_thumbnail(bundle, [0]) == 0
    for image in (0, 1, 3, 4, 5):
        small = pixels(read_thumbnail(bundle, 0, image))
        assert max(small.shape[:2]) == 64
        whole = pixels(photos[image].read_bytes())
        shrunk = cv2.resize(whole, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - shrunk).mean() < 6
    with pytest.raises(ImageError, match="has no thumbnail of the image 2"):
        read_thumbnail(bundle, 0, 2)


def test_what_cant_be_read_is_counted_and_ends_nothing(job: OpenJob, bundle: OpenJob, photos: list[Path]) -> None:
    rows = rows_of(photos)
    photos[1].unlink()
    photos[3].write_bytes(photos[4].read_bytes())  # Another photo came to its place.
    maker = made(job, bundle, rows)
    assert maker.lost.reasons == {"vanished": 1, "changed": 1}
    assert any(sentence.startswith(f"{photos[1]}: ") for sentence in maker.lost.sentences)
    assert without_thumbnail(bundle, [0]) == 2
    for image in (1, 3):
        with pytest.raises(ImageError, match="could not be read when the bundle"):
            read_thumbnail(bundle, 0, image)
    assert max(pixels(read_thumbnail(bundle, 0, 4)).shape[:2]) == 64


def test_photos_out_of_reach_are_not_lost(job: OpenJob, bundle: OpenJob, photos: list[Path]) -> None:
    rows, folder = rows_of(photos), photos[0].parent
    os.rename(folder, folder.with_name("elsewhere"))
    with pytest.raises(
        SourceError, match=r"photos is out of reach \(No such file .*leave the option thumbnails out, or"
    ):
        made(job, bundle, rows)
    assert not bundle.thumbnails(0).exists()
    folder.mkdir()
    with pytest.raises(SourceError, match="it is empty now"):
        made(job, bundle, rows)
    moved = Moved(str(folder), str(folder.with_name("elsewhere")))
    assert not made(job, bundle, rows, moved).lost.reasons


def test_an_image_that_ended_a_process_is_shrunk_by_one_of_its_own(
    job: OpenJob, bundle: OpenJob, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def alone(data: bytes, *how: int) -> bytes:
        raise ImageError("Each process came to its end by it.", "quarantined")

    monkeypatch.setattr(thumbnails, "shrunk_alone", alone)
    maker = made(job, bundle, rows_of(photos), suspects=(4,))
    assert maker.lost.reasons == {"quarantined": 1}
    assert without_thumbnail(bundle, [0]) == 1


def test_the_images_in_hand_are_noted(job: OpenJob, bundle: OpenJob, photos: list[Path], tmp_path: Path) -> None:
    noted = []
    with open(tmp_path / "hand", "w+b") as hand:
        maker = ThumbnailMaker(job, NOT_MOVED, 64, hand.fileno())

        def shrunk(data: bytes, *how: int) -> bytes:
            noted.append({number - 1 for number in np.fromfile(tmp_path / "hand", "<i8").tolist() if number})
            return b"jpeg"

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(thumbnails, "shrunk", shrunk)
            maker.write(bundle, job.partition(0), rows_of(photos), lambda: None)
        assert set().union(*noted) == {0, 1, 3, 4, 5}
        assert all(noted)
        assert not np.fromfile(tmp_path / "hand", "<i8").any()


def test_a_bundle_gives_the_photo_where_it_is_and_else_the_thumbnail(
    job: OpenJob, bundle: OpenJob, photos: list[Path]
) -> None:
    made(job, bundle, rows_of(photos))
    photo = photos[4].read_bytes()
    assert read_image(bundle, 4, Location(str(photos[4]))) == (photo, True)
    photos[4].write_bytes(photos[5].read_bytes())  # On another machine, another photo may have its name.
    thumbnail, is_photo = read_image(bundle, 4, Location(str(photos[4])))
    assert (thumbnail, is_photo) == (read_thumbnail(bundle, 0, 4), False)
    photos[4].unlink()
    assert read_image(bundle, 4, Location(str(photos[4]))) == (thumbnail, False)
    bundle.thumbnail_offsets(0).unlink()
    with pytest.raises(ImageError, match=r"no longer there|has no thumbnails"):
        read_image(bundle, 4, Location(str(photos[4])))


def test_thumbnails_that_are_cut_are_an_error_and_no_picture(job: OpenJob, bundle: OpenJob, photos: list[Path]) -> None:
    made(job, bundle, rows_of(photos))
    cut(bundle.thumbnails(0))
    with pytest.raises(
        CorruptFile, match=r"thumbnails_0000.npy can't be read \(thumbnails_0000.jpegs has another size"
    ):
        read_thumbnail(bundle, 0, 0)
    bundle.thumbnails(0).unlink()
    with pytest.raises(CorruptFile, match="copy the bundle anew"):
        read_thumbnail(bundle, 0, 0)
