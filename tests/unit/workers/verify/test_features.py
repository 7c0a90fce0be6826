import struct
import zlib

import cv2
import numpy as np
import pytest

from shared.errors import CorruptFile, ImageError
from tests.support.images.scenes import POOR, as_jpeg, flat, noise, scene
from workers.verify.descriptors import mirrored
from workers.verify.features import QUERY_KEYPOINTS, STORED_KEYPOINTS, LocalFeatures, local_features


def same(first: LocalFeatures, second: LocalFeatures) -> bool:
    return (
        (first.width, first.height) == (second.width, second.height)
        and np.array_equal(first.points, second.points)
        and np.array_equal(first.bits, second.bits)
        and np.array_equal(first.colours, second.colours)
    )


def test_a_picture_has_its_strongest_keypoints_within_its_own_pixels() -> None:
    picture = scene(1, 480, 640)
    found = local_features(picture)
    assert (found.width, found.height) == (640, 480)
    assert found.points.shape == (STORED_KEYPOINTS, 2)
    assert found.points.dtype == np.float32
    assert found.bits.shape == (STORED_KEYPOINTS, 16)
    assert found.bits.dtype == np.uint8
    assert found.points.min() > 0
    assert (found.points < [640, 480]).all()
    assert (found.points.max(axis=0) > [500, 380]).all(), "no keypoint in the lower right of the original"
    assert found.grey.shape == (108, 144)


def test_a_query_is_looked_at_more_closely() -> None:
    picture = scene(1, 480, 640)
    stored, query = local_features(picture), local_features(picture, QUERY_KEYPOINTS)
    assert len(stored.points) < len(query.points) <= QUERY_KEYPOINTS
    assert stored.grey.size < query.grey.size


def test_a_query_has_finer_colours_and_stores_those_of_any_image() -> None:
    picture = scene(1, 480, 640)
    stored, query = local_features(picture), local_features(picture, QUERY_KEYPOINTS)
    assert stored.colours.shape == (6, 6, 2)
    assert query.colours.shape == (48, 48, 2)
    loaded = LocalFeatures.from_bytes(query.to_bytes())
    assert np.abs(loaded.colours.astype(int) - stored.colours).max() <= 4


def test_the_same_pixels_give_the_same_features() -> None:
    picture = scene(2)
    before = picture.copy()
    assert local_features(picture).to_bytes() == local_features(picture).to_bytes()
    assert np.array_equal(picture, before)


def test_stored_features_come_back_as_they_were_and_their_thumbnail_nearly() -> None:
    for picture in (scene(3), scene(4, 90, 1_200), scene(5, 64, 48)):
        found = local_features(picture)
        loaded = LocalFeatures.from_bytes(found.to_bytes())
        assert same(loaded, found)
        assert loaded.grey.shape == found.grey.shape
        assert np.abs(loaded.grey.astype(int) - found.grey).mean() < 8
        assert same(LocalFeatures.from_bytes(loaded.to_bytes()), found)


def test_a_photo_takes_at_most_four_and_a_half_kilobytes() -> None:
    for seed in range(4):
        soft = np.asarray(
            cv2.GaussianBlur(scene(seed), (0, 0), 2.0), np.uint8
        )  # These shapes are richer than photos are.
        assert len(local_features(as_jpeg(soft)).to_bytes()) <= 4_608


@pytest.mark.parametrize("kind", POOR)
def test_what_shows_almost_nothing_is_stored_and_loaded_too(kind: str) -> None:
    for picture in POOR[kind]:
        found = local_features(picture)
        assert same(LocalFeatures.from_bytes(found.to_bytes()), found)


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (300, 5), (1, 4_000), (12, 12), (40, 4_000), (2, 2)])
def test_tiny_and_thin_pictures_have_features_or_none_and_are_stored(size: tuple[int, int]) -> None:
    found = local_features(scene(6, 400, 4_000)[: size[0], : size[1]])
    loaded = LocalFeatures.from_bytes(found.to_bytes())
    assert (loaded.height, loaded.width) == size
    assert same(loaded, found)


def test_a_flat_picture_has_no_keypoints() -> None:
    found = local_features(flat(90))
    assert found.points.shape == (0, 2)
    assert found.bits.shape == (0, 16)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
    ids=["grey", "alpha", "float", "empty"],
)
def test_what_is_no_rgb_image_is_refused_with_its_shape(wrong: np.ndarray) -> None:
    with pytest.raises(ImageError, match="RGB, uint8") as refused:
        local_features(wrong)
    assert str(wrong.shape) in str(refused.value)


def test_a_mirrored_picture_has_the_mirrored_bits() -> None:
    picture = scene(7)
    plain, flipped = local_features(picture), local_features(np.ascontiguousarray(picture[:, ::-1]))
    places = {(round(x), round(y)): row for row, (x, y) in enumerate(flipped.points.tolist())}
    pairs = [
        (row, places[place])
        for row, (x, y) in enumerate(plain.points.tolist())
        if (place := (round(picture.shape[1] - x), round(y))) in places
    ]
    assert len(pairs) > 80
    ours, theirs = (np.array(side) for side in zip(*pairs, strict=True))
    as_if_mirrored = np.bitwise_count(mirrored(plain.bits[ours]) ^ flipped.bits[theirs]).sum(axis=1)
    as_they_are = np.bitwise_count(plain.bits[ours] ^ flipped.bits[theirs]).sum(axis=1)
    assert np.median(as_if_mirrored) < 16 < 40 < np.median(as_they_are)
    assert np.array_equal(mirrored(mirrored(plain.bits)), plain.bits)


def test_every_cut_and_every_changed_byte_is_refused() -> None:
    data = local_features(scene(8)).to_bytes()
    for end in [*range(60), *range(60, len(data), 97), len(data) - 1]:
        with pytest.raises(CorruptFile, match="store them anew"):
            LocalFeatures.from_bytes(data[:end])
    for place in range(0, len(data), 41):
        changed = bytearray(data)
        changed[place] ^= 16
        with pytest.raises(CorruptFile, match="store them anew"):
            LocalFeatures.from_bytes(bytes(changed))
    with pytest.raises(CorruptFile, match="store them anew"):
        LocalFeatures.from_bytes(data + b"\0")


@pytest.mark.parametrize("foreign", [b"", b"\xff\xd8\xff\xe0" * 40, noise(3).tobytes()[:4_000], b"LKf0" + bytes(900)])
def test_bytes_of_something_else_are_refused(foreign: bytes) -> None:
    with pytest.raises(CorruptFile, match="store them anew"):
        LocalFeatures.from_bytes(foreign)


@pytest.mark.parametrize("change", [("<H", 12, 9), ("<I", 4, 0), ("<H", 14, 7), ("<H", 16, 0), ("<H", 18, 5)])
def test_a_head_that_disagrees_with_the_rest_is_refused_even_under_a_good_checksum(
    change: tuple[str, int, int],
) -> None:
    kind, place, value = change
    body = bytearray(local_features(scene(9)).to_bytes()[:-4])
    struct.pack_into(kind, body, place, value)
    with pytest.raises(CorruptFile, match="store them anew"):
        LocalFeatures.from_bytes(bytes(body) + struct.pack("<I", zlib.crc32(body)))
