"""Where the features of a candidate come from, and that they are of the image that was embedded."""

import hashlib
import io
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import ImageError
from shared.images.members import Member
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.messages.search import Hit
from tests.support.images.scenes import scene
from tests.support.make_job import make_job
from workers.search.cascade.facts import Fact
from workers.search.cascade.features import CandidateFeatures
from workers.search.decoding.processes import DecodingProcesses
from workers.verify.features import LocalFeatures, local_features

pytestmark = pytest.mark.slow

CACHED = 10_000_000


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecodingProcesses]:
    made = DecodingProcesses(1, 60.0, 1_000_000_000)
    yield made
    made.close()


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    return make_job(tmp_path / "job", listed=30, partition_size=30).job


def png(seed: int) -> bytes:
    done, data = cv2.imencode(".png", scene(seed)[:, :, ::-1])
    assert done
    return data.tobytes()


def placed(path: Path, seed: int) -> tuple[Hit, Fact]:
    data = png(seed)
    path.write_bytes(data)
    return Hit(1, 7, str(path), 0.9), Fact(hashlib.sha256(data).hexdigest(), 300, 360)


def test_the_image_that_was_embedded_is_decoded_once(job: OpenJob, decoders: DecodingProcesses, tmp_path: Path) -> None:
    hit, fact = placed(tmp_path / "a.png", 1)
    features = CandidateFeatures(decoders, CACHED)
    found = features.of(job, hit, fact)
    assert (found.width, found.height) == (300, 360)
    np.testing.assert_array_equal(found.bits, local_features(scene(1)).bits)
    (tmp_path / "a.png").unlink()
    assert features.of(job, hit, fact) is found, "it is cached"
    with pytest.raises(ImageError):
        CandidateFeatures(decoders, 0).of(job, hit, fact)
    other = make_job(tmp_path / "other", listed=30, partition_size=30).job
    with pytest.raises(ImageError):  # The same id of another job is another image.
        features.of(other, hit, fact)


def test_the_cache_holds_no_more_bytes_than_it_may(job: OpenJob, decoders: DecodingProcesses, tmp_path: Path) -> None:
    hit, fact = placed(tmp_path / "a.png", 1)
    size = CandidateFeatures(decoders, CACHED).of(job, hit, fact)
    taken = size.points.nbytes + size.bits.nbytes + size.grey.nbytes
    features = CandidateFeatures(decoders, 2 * taken + 1_000)
    for number in range(4):
        features.of(job, replace(hit, id=number), fact)
    (tmp_path / "a.png").unlink()
    assert features.of(job, replace(hit, id=3), fact)
    with pytest.raises(ImageError):
        features.of(job, replace(hit, id=0), fact)


def test_an_image_that_was_changed_since_has_no_features(
    job: OpenJob, decoders: DecodingProcesses, tmp_path: Path
) -> None:
    hit, fact = placed(tmp_path / "a.png", 1)
    (tmp_path / "a.png").write_bytes(png(2))
    with pytest.raises(ImageError, match=r"a\.png is another image by now than the one that was embedded") as caught:
        CandidateFeatures(decoders, CACHED).of(job, hit, fact)
    assert caught.value.status == "changed"
    # Of imported vectors nobody knows what their images were.
    assert CandidateFeatures(decoders, CACHED).of(job, hit, Fact()) is not None


@pytest.mark.parametrize(("data", "words"), [(None, "no longer there"), (b"no image", r"a\.png: ")])
def test_an_image_that_is_gone_or_none_is_named(
    job: OpenJob, decoders: DecodingProcesses, tmp_path: Path, data: bytes | None, words: str
) -> None:
    hit, _ = placed(tmp_path / "a.png", 1)
    (tmp_path / "a.png").unlink() if data is None else (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageError, match=words) as caught:
        CandidateFeatures(decoders, CACHED).of(job, hit, Fact())
    assert str(tmp_path / "a.png") in str(caught.value)


def test_a_copy_of_a_job_that_got_another_image_of_the_same_id_is_not_taken_for_the_job(
    job: OpenJob, decoders: DecodingProcesses, tmp_path: Path
) -> None:
    shutil.copytree(job.path, tmp_path / "copy")
    copy = open_job(JobDir.at(tmp_path / "copy"))
    assert copy.manifest.identity == job.manifest.identity
    features = CandidateFeatures(decoders, CACHED)
    for of, name, seed in ((job, "a.png", 1), (copy, "b.png", 2), (job, "c.png", 3)):
        hit, fact = placed(tmp_path / name, seed)
        np.testing.assert_array_equal(features.of(of, hit, fact).bits, local_features(scene(seed)).bits)


def test_features_that_a_job_stores_are_taken_and_no_image_is_read(job: OpenJob, decoders: DecodingProcesses) -> None:
    asked: list[tuple[int, str | None]] = []
    own = local_features(scene(5))

    def stored(of: OpenJob, image_id: int, sha256: str | None) -> LocalFeatures | None:
        asked.append((image_id, sha256))
        return own if image_id == 7 else None

    features = CandidateFeatures(decoders, CACHED, stored)
    assert features.of(job, Hit(1, 7, "/nowhere/a.png", 0.9), Fact("0" * 64)) is own
    with pytest.raises(ImageError, match=r"/nowhere/b\.png"):
        features.of(job, Hit(1, 8, "/nowhere/b.png", 0.9), Fact("0" * 64))
    assert asked == [(7, "0" * 64), (8, "0" * 64)]


def test_an_image_in_an_archive_is_read_at_its_place(job: OpenJob, decoders: DecodingProcesses, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number in range(3):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(png(number))
            tar.addfile(info, io.BytesIO(png(number)))
    with tarfile.open(tmp_path / "a.tar") as tar:
        members = [Member(one.offset, one.size, one.size, ahead=0) for one in tar.getmembers()]
    paths = [f"{tmp_path}/a.tar::{number}.png" for number in range(3)]
    (partition,) = job.partitions
    places: list[Member | None] = [*members, *[None] * 27]
    path_list.write_paths(job, partition, [*paths, *(f"{one}.png" for one in range(3, 30))], places)
    assert path_list.read_members(job, partition).of(2) == members[2]
    assert path_list.read_members(job, partition).of(3) is None
    found = CandidateFeatures(decoders, CACHED).of(job, Hit(1, 2, paths[2], 0.9), Fact())
    np.testing.assert_array_equal(found.bits, local_features(scene(2)).bits)
