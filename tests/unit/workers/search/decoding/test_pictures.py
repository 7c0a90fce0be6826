"""What a decoding process makes of an image: views and features, here and there alike."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from shared.errors import ImageError
from shared.models.imported import imported_model
from tests.support.images.ending_decoders import ending
from tests.support.images.scenes import scene
from tests.support.make_job import model_spec
from workers.images.decode import decode
from workers.search.decoding.pictures import at_size, decode_of, features_of, views_of
from workers.search.decoding.processes import DecodingProcesses
from workers.verify.features import QUERY_KEYPOINTS, STORED_KEYPOINTS, LocalFeatures, local_features
from workers.verify.pdq import LEAST_QUALITY, distances, pdq
from workers.verify.same_picture import verify

pytestmark = pytest.mark.slow

MOST = 10**8


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecodingProcesses]:
    made = ending(DecodingProcesses(1, 60.0, 1_000_000_000))
    yield made
    made.close()


def encoded(pixels: np.ndarray, kind: str = ".png", *options: int) -> bytes:
    done, data = cv2.imencode(kind, np.ascontiguousarray(pixels[:, :, ::-1]), options)
    assert done
    return data.tobytes()


def equal(one: LocalFeatures, other: LocalFeatures) -> bool:
    sizes = (one.width, one.height) == (other.width, other.height)
    return sizes and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("points", "bits", "grey", "colours")
    )


def test_the_first_view_is_the_image_as_it_is_embedded_and_the_others_are_parts_of_it(
    decoders: DecodingProcesses,
) -> None:
    data = encoded(scene(1, 480, 640), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95)
    squares = decoders.views(data, 6, 64, MOST, "reduced")
    assert (squares.shape, squares.dtype) == ((6, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(squares[0], decode(data, 64, MOST).pixels)
    np.testing.assert_array_equal(squares, views_of(data, 6, 64, MOST, "reduced"))
    left = decode(encoded(scene(1, 480, 640)[:264, :352]), 64, MOST).pixels  # The upper left corner, .55 of each side.
    assert np.abs(squares[2].astype(int) - left).mean() < 4
    assert len(decoders.views(encoded(np.full((1, 1, 3), 9, np.uint8)), 6, 8, MOST, "reduced")) >= 1


@pytest.mark.parametrize("keypoints", [STORED_KEYPOINTS, QUERY_KEYPOINTS])
def test_features_are_those_of_here_whole(decoders: DecodingProcesses, keypoints: int) -> None:
    data = encoded(scene(2))
    there = decoders.features(data, keypoints, MOST, "reduced")
    assert equal(there, features_of(data, keypoints, MOST, "reduced"))
    assert len(there.points) > 50


def test_a_candidate_is_compared_in_the_form_in_which_jobs_store_features_and_a_query_in_its_own() -> None:
    data = encoded(scene(2))
    made = {most: local_features(scene(2), most) for most in (STORED_KEYPOINTS, QUERY_KEYPOINTS)}
    candidate = features_of(data, STORED_KEYPOINTS, MOST, "reduced")
    assert equal(candidate, LocalFeatures.from_bytes(made[STORED_KEYPOINTS].to_bytes()))
    assert not equal(candidate, made[STORED_KEYPOINTS])
    assert equal(features_of(data, QUERY_KEYPOINTS, MOST, "reduced"), made[QUERY_KEYPOINTS])


def test_pdqs_are_near_to_those_that_a_job_stores_of_the_image_and_of_its_flips(decoders: DecodingProcesses) -> None:
    stored, _ = pdq(scene(2))
    for data in (
        encoded(scene(2), ".jpg"),
        encoded(np.ascontiguousarray(scene(2)[:, ::-1])),
        encoded(np.rot90(scene(2))),
    ):
        hashes, quality = decoders.pdqs(data, MOST, "reduced")
        assert quality >= LEAST_QUALITY
        assert distances(hashes, stored).min() <= 16
        assert np.sort(distances(hashes, stored))[1] > 60


def test_features_are_in_pixels_of_the_image_however_it_was_decoded_and_turned(decoders: DecodingProcesses) -> None:
    whole = scene(3, 900, 1_200)
    large = cv2.resize(whole, (4_800, 3_600), interpolation=cv2.INTER_CUBIC)
    found = decoders.features(encoded(large, ".jpg"), STORED_KEYPOINTS, MOST, "reduced")
    assert (found.width, found.height) == (4_800, 3_600)
    evidence = verify(features_of(encoded(whole), QUERY_KEYPOINTS, MOST, "reduced"), found)
    assert evidence is not None
    assert evidence.matrix[0][0] == pytest.approx(4, abs=0.05)
    assert evidence.matrix[1][1] == pytest.approx(4, abs=0.05)
    # A header says the size of an image that lies on its side before it is turned.
    upright = at_size(features_of(encoded(scene(3, 400, 300)), STORED_KEYPOINTS, MOST, "reduced"), 1_600, 1_200)
    assert (upright.width, upright.height) == (1_200, 1_600)


@pytest.mark.parametrize(("bad", "status"), [(b"crash", "quarantined"), (b"no image", "not-an-image")])
def test_an_image_that_is_none_or_ends_its_process_costs_no_other(
    decoders: DecodingProcesses, bad: bytes, status: str
) -> None:
    for ask in (
        lambda: decoders.features(bad, STORED_KEYPOINTS, MOST, "reduced"),
        lambda: decoders.views(bad, 6, 16, MOST, "reduced"),
        lambda: decoders.pdqs(bad, MOST, "reduced"),
    ):
        with pytest.raises(ImageError) as caught:
            ask()
        assert caught.value.status == status
    assert len(decoders.features(encoded(scene(4)), STORED_KEYPOINTS, MOST, "reduced").points) > 50


def test_images_of_imported_vectors_are_decoded_although_no_model_says_how() -> None:
    assert decode_of(imported_model("theirs", 8)) == "reduced"
    assert decode_of(model_spec()) == "reduced"
