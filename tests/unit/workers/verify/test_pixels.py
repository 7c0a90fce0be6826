from collections.abc import Callable

import cv2
import numpy as np
import pytest

from tests.support.images.scenes import Picture, as_jpeg, floor, grained, on_floor, resized, scene
from workers.verify.features import LocalFeatures, local_features
from workers.verify.pixels import same_pixels

ORIGINAL = scene(1)


def grey(picture: Picture) -> Picture:
    return np.repeat(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))[:, :, None], 3, axis=2)


def captioned(picture: Picture, text: str = "SALE") -> Picture:
    return np.asarray(cv2.putText(picture.copy(), text, (90, 340), 0, 0.9, (255, 255, 255), 2, cv2.LINE_AA), np.uint8)


WHOLE: dict[str, tuple[Callable[[Picture], Picture], float, bool]] = {
    "as it is": (lambda p: p, 0, False),
    "jpeg 10": (lambda p: as_jpeg(p, 10), 0, False),
    "grey": (grey, 0, False),
    "blurred": (lambda p: np.asarray(cv2.GaussianBlur(p, (0, 0), 2.5)), 0, False),
    "half as large": (lambda p: resized(p, 150, 180), 0, False),
    "64 px": (lambda p: resized(p, 53, 64), 0, False),
    "squashed": (lambda p: resized(p, 180, 360), 0, False),
    "brighter": (lambda p: np.clip(p * 0.8 + 40, 0, 255).astype(np.uint8), 0, False),
    "mirrored": (lambda p: p[:, ::-1], 0, True),
    "upside down": (lambda p: p[::-1], 180, True),
    **{f"turned by {90 * k}": (lambda p, k=k: np.rot90(p, -k), (0, 90, 180, -90)[k], False) for k in (1, 2, 3)},
    "mirrored and turned": (lambda p: np.rot90(p[:, ::-1], -1), 90, True),
}


@pytest.mark.parametrize("what", WHOLE)
def test_the_whole_picture_written_again_is_the_same_pixels(what: str) -> None:
    alter, turned, mirrored = WHOLE[what]
    query = as_jpeg(np.ascontiguousarray(alter(ORIGINAL)))
    stored = LocalFeatures.from_bytes(local_features(ORIGINAL).to_bytes())
    for evidence in (
        same_pixels(query, ORIGINAL),
        same_pixels(query, stored),
        same_pixels(local_features(query), stored),
    ):
        assert evidence is not None
        assert (evidence.turned, evidence.mirrored) == (turned, mirrored)
        assert (evidence.query_overlap, evidence.hit_overlap, evidence.inliers) == (1, 1, 0)
        assert evidence.aligned > 0.8


@pytest.mark.parametrize("what", WHOLE)
def test_its_matrix_brings_each_corner_of_the_query_to_one_of_the_hit(what: str) -> None:
    alter, _, _ = WHOLE[what]
    marked = np.zeros((60, 50, 3), np.uint8)
    marked[:12, :10] = 255
    evidence = same_pixels(np.ascontiguousarray(alter(ORIGINAL)), ORIGINAL)
    seen = np.asarray(alter(resized(marked, 300, 360))).mean(axis=2)
    height, width = seen.shape
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    bright = [seen[min(int(y), height - 3), min(int(x), width - 3)] for x, y in corners]
    assert evidence is not None
    matrix = np.array(evidence.matrix)
    assert np.allclose(matrix[:, :2] @ corners[int(np.argmax(bright))] + matrix[:, 2], (0, 0), atol=1e-6)


NOT_WHOLE: dict[str, Callable[[Picture], Picture]] = {
    "cropped": lambda p: p[20:-20, 15:-15],
    "framed": lambda p: np.pad(p, ((0, 0), (20, 20), (0, 0))),
    "captioned": captioned,
    "another picture": lambda p: scene(2),
    "a corner pasted over": lambda p: np.concatenate([p[:270], np.hstack([p[270:, :225], scene(3)[270:, 225:]])]),
    "other colours": lambda p: np.ascontiguousarray(p[:, :, ::-1]),
    "negative": lambda p: 255 - p,
    "leaning": lambda p: np.asarray(
        cv2.warpAffine(p, cv2.getRotationMatrix2D((150, 180), 4, 1), (300, 360), borderMode=cv2.BORDER_REFLECT)
    ),
}


@pytest.mark.parametrize("what", NOT_WHOLE)
def test_less_or_more_than_the_whole_picture_is_not_the_same_pixels(what: str) -> None:
    query = as_jpeg(np.ascontiguousarray(NOT_WHOLE[what](ORIGINAL)))
    stored = LocalFeatures.from_bytes(local_features(ORIGINAL).to_bytes())
    assert same_pixels(query, ORIGINAL) is None
    assert same_pixels(query, stored) is None


def test_two_photos_of_one_floor_are_not_the_same_pixels() -> None:
    wide = floor(1, 400, 340)
    assert same_pixels(wide[:360, :300], wide[20:380, 20:320]) is None
    ground = floor(2)
    assert same_pixels(on_floor(ground, 1, 0.1), on_floor(ground, 2, 0.1)) is None
    assert same_pixels(on_floor(ground, 1, 0.1), ground) is None


def test_two_shots_of_one_scene_without_motion_may_be_the_same_pixels_and_with_motion_are_not() -> None:
    rng = np.random.default_rng(1)
    assert same_pixels(grained(ORIGINAL, rng), grained(ORIGINAL, rng)) is not None
    wide = scene(4, 380, 320)
    assert same_pixels(wide[:360, :300], wide[20:, 20:]) is None
