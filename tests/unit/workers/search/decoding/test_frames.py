"""Pictures that were pasted into others are found by their borders, and photographs have none."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.images.scenes import floor, scene
from workers.images.decode import decode_photo
from workers.images.encode import encode_jpeg
from workers.search.decoding.frames import Box, frames, overlap

Image = NDArray[np.uint8]


def pasted(box: Box, ground: int = 20, picture: int = 7) -> Image:
    """A scene of 640 x 480 pixels, with another one in `box`."""
    left, top, right, bottom = box
    canvas = scene(ground, 480, 640)
    small = cv2.resize(scene(picture), (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    canvas[top:bottom, left:right] = small
    return canvas


def is_found(box: Box, image: Image, least: float = 0.93) -> bool:
    found = frames(image, 2)
    return bool(found) and overlap(found[0], box) >= least


@pytest.mark.parametrize("ground", [20, 21, 22])
def test_a_picture_inside_another_one_is_found_to_a_few_pixels(ground: int) -> None:
    box = (230, 90, 430, 330)
    assert is_found(box, pasted(box, ground), 0.97)


def test_one_in_a_corner_is_found_by_the_two_sides_that_it_has() -> None:
    for box in ((0, 0, 240, 200), (400, 280, 640, 480)):
        assert is_found(box, pasted(box))


def test_it_is_still_found_once_the_whole_was_scaled_and_compressed() -> None:
    box = (230, 90, 430, 330)
    smaller = cv2.resize(pasted(box), None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    again = decode_photo(encode_jpeg(np.asarray(smaller, np.uint8), 60), 1_000, 10**7)
    assert is_found((184, 72, 344, 264), again)


def test_of_a_large_image_the_box_is_in_its_own_pixels() -> None:
    box = (230, 90, 430, 330)
    large = np.asarray(cv2.resize(pasted(box), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC), np.uint8)
    assert is_found((920, 360, 1720, 1320), large)


def test_two_pictures_in_one_are_both_found() -> None:
    first, second = (60, 60, 240, 276), (380, 200, 600, 440)
    image = pasted(first)
    image[200:440, 380:600] = cv2.resize(scene(8), (220, 240), interpolation=cv2.INTER_AREA)
    found = frames(image, 4)
    assert all(max(overlap(box, one) for one in found) > 0.93 for box in (first, second))
    assert len(frames(image, 1)) == 1


def test_photographs_without_a_picture_in_them_have_no_frame() -> None:
    plain = [scene(seed, 480, 640) for seed in range(10)] + [floor(seed) for seed in range(4)]
    assert [frames(image, 2) for image in plain] == [[]] * len(plain)


def test_the_bars_of_a_window_go_on_behind_their_corners_and_come_after_a_picture() -> None:
    box = (280, 60, 400, 204)
    image = pasted(box)
    for column, row in ((60, 230), (240, 400)):
        image[:, column : column + 3] = image[row : row + 3] = 30
    assert is_found(box, image)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (63, 63), (63, 400), (400, 63)])
def test_what_is_tiny_or_flat_or_noise_has_none_and_is_no_error(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert frames(noise, 2) == frames(np.full_like(noise, 90), 2) == []


def test_nothing_in_common_is_no_overlap_and_the_same_box_is_all_of_it() -> None:
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
