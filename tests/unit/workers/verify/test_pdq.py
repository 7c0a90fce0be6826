"""PDQ: what it says of a picture, and of the same picture changed."""

from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from workers.verify.collection.pdq_index import MOST_BITS
from workers.verify.pdq import LEAST_QUALITY, distances, pdq, turned_pdqs

Image = npt.NDArray[np.uint8]


@cache
def picture(seed: int, width: int = 640, height: int = 420) -> Image:
    """A picture with something to see in it at every scale, as a photograph has, and a few sharp edges."""
    rng = np.random.default_rng(seed)
    field = np.zeros((height, width, 3), np.float32)
    for octave in range(5):
        rough = rng.normal(size=(3 << octave, 4 << octave, 3)).astype(np.float32)
        field += np.asarray(cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC), np.float32) / 1.6**octave
    soft = np.clip(128 + 55 * field, 0, 255).astype(np.uint8)
    for _ in range(5):
        x, y = rng.integers(0, width - 30), rng.integers(0, height - 30)
        cv2.rectangle(soft, (int(x), int(y)), (int(x) + 40, int(y) + 25), rng.integers(0, 256, 3).tolist(), -1)
    return np.asarray(soft, np.uint8)


def jpeg(image: Image, quality: int) -> Image:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


CHANGES: dict[str, Callable[[Image], Any]] = {
    "jpeg quality 20": lambda image: jpeg(image, 20),
    "half": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "three times": lambda image: cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC),
    "128 pixels": lambda image: cv2.resize(image, (128, 84), interpolation=cv2.INTER_AREA),
    "squashed": lambda image: cv2.resize(image, (420, 420), interpolation=cv2.INTER_AREA),
    "grey": lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
    "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), 2),
    "brighter": lambda image: cv2.convertScaleAbs(image, alpha=0.8, beta=30),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_within_the_bits_that_are_looked_up(change: str) -> None:
    far = [
        int(distances(pdq(picture(seed))[0][None], pdq(np.asarray(CHANGES[change](picture(seed)), np.uint8))[0])[0])
        for seed in range(12)
    ]
    assert max(far) <= MOST_BITS
    assert np.mean(far) <= 16


def test_strangers_differ_in_about_half_of_the_bits() -> None:
    hashes = np.stack([pdq(picture(seed))[0] for seed in range(40)])
    far = np.concatenate([distances(hashes[:row], hashes[row]) for row in range(1, 40)])
    assert far.min() > 60
    assert 120 < far.mean() < 136


def test_half_of_the_bits_are_set_and_a_picture_with_something_to_see_has_quality() -> None:
    for seed in range(10):
        value, quality = pdq(picture(seed))
        assert value.dtype == np.uint8
        assert int(np.bitwise_count(value).sum()) == 128
        assert quality >= LEAST_QUALITY


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((200, 300, 3), np.uint8),
        np.full((200, 300, 3), 255, np.uint8),
        np.full((64, 64, 3), 130, np.uint8),
        np.repeat(np.linspace(100, 140, 300).astype(np.uint8)[None, :, None], 200, axis=0).repeat(3, axis=2),
        np.zeros((4, 900, 3), np.uint8),
        np.zeros((1, 1, 3), np.uint8),
    ],
    ids=["black", "white", "grey", "soft gradient", "four rows", "one pixel"],
)
def test_a_picture_that_shows_nothing_has_no_quality(image: Image) -> None:
    value, quality = pdq(image)
    assert value.shape == (32,)
    assert quality < LEAST_QUALITY


def test_a_picture_of_any_shape_has_a_pdq() -> None:
    for height, width in ((5, 5), (5, 4_000), (4_000, 5), (63, 65), (128, 129), (513, 511), (1, 50)):
        value, quality = pdq(picture(3, max(width, 40), max(height, 40))[:height, :width].copy())
        assert value.shape == (32,)
        assert 0 <= quality <= 100


def made(seed: int, height: int, width: int) -> Image:
    """A picture of twelve waves, of which the library's values below are."""
    rng = np.random.default_rng(seed)
    field = np.zeros((height, width, 3))
    y, x = np.mgrid[0:height, 0:width]
    for _ in range(12):
        (down, across), phase = rng.integers(1, 14, 2).tolist(), rng.random() * 6
        wave = np.cos(2 * np.pi * (down * y / height + across * x / width) + phase)
        field += wave[..., None] * rng.normal(size=3) * 20
    return np.clip(128 + field, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("seed", "height", "width", "expected"),
    [
        (0, 64, 64, "288f257a38e7367b88a676388caa21a88aa229fc9efb29f8be1109f8f73e0978"),
        (1, 100, 150, "5a27ea81c8aa1df187ab1776ca83177280a5102fa2a2d28f877f8def0aaa2f4f"),
        (2, 300, 200, "7cf324a8a8820fa4ecdb5aa2950a09a2577ffbaaa800f1e943e6faaa49ecf2aa"),
        (3, 512, 512, "57778bdd76208cfd3a20d0882f77d8e82757d0fd237500dd7780d5282755d528"),
        (4, 431, 997, "fe7c8a1522b7cfea82404b68aa8257ed56a8c8221ddfbc6a93e53c6a683ab4e2"),
        (5, 1_024, 768, "528897f7fca2e020d27ee082647ee6807428a1a20882e177df57e1f76db7e1d5"),
        (6, 50, 40, "682b415555c5408a97f43dddf4c4bc480295297d0af5bbfd14132bfda9c029fd"),
    ],
)
def test_the_values_are_those_of_the_library_of_its_makers(seed: int, height: int, width: int, expected: str) -> None:
    """Computed by pdqhash 0.2.8, which binds the code of PDQ's makers; they take ten bits for a match of two codes."""
    value, quality = pdq(made(seed, height, width))
    assert int(distances(value[None], np.frombuffer(bytes.fromhex(expected), np.uint8))[0]) <= 4
    assert quality == 100


TURNS: list[Callable[[Image], Image]] = [
    lambda image: image,
    lambda image: image[:, ::-1],
    lambda image: image[::-1],
    lambda image: image[::-1, ::-1],
]


def test_the_pdqs_of_the_turns_are_those_of_turned_pictures() -> None:
    for seed in range(10):
        image = picture(seed, 480, 512)
        made, quality = turned_pdqs(image)
        assert made.shape == (8, 32)
        assert (made[0].tobytes(), quality) == (pdq(image)[0].tobytes(), pdq(image)[1])
        turned = [turn(image) for turn in TURNS]
        # Rows and columns are exchanged before the turn.
        turned += [turn(image.transpose(1, 0, 2)) for turn in TURNS]
        for number, one in enumerate(turned):
            assert made[number].tobytes() == pdq(np.ascontiguousarray(one))[0].tobytes(), number
        assert len({one.tobytes() for one in made}) == 8


def test_another_array_than_an_rgb_image_is_refused() -> None:
    for wrong in (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.float32)):
        with pytest.raises(ValueError, match="uint8"):
            pdq(wrong)  # type: ignore[arg-type]
