"""The views of an image: what they are of a plain photograph, of a screenshot, of a collage."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.images.scenes import scene
from workers.search.decoding.boxes import parts, view_boxes
from workers.search.decoding.frames import Box, frames, overlap

Image = NDArray[np.uint8]


def noise(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def page(height: int = 600, width: int = 400, colour: int = 250) -> Image:
    return np.full((height, width, 3), colour, np.uint8)


def put(image: Image, box: Box, seed: int = 1) -> None:
    left, top, right, bottom = box
    image[top:bottom, left:right] = noise(bottom - top, right - left, seed)


def test_a_photograph_is_seen_whole_at_its_centre_and_at_its_corners() -> None:
    photograph = scene(3, 300, 400)
    boxes = view_boxes(photograph, 6)
    assert boxes[0] == (0, 0, 400, 300)
    corners = [(0, 0, 220, 165), (180, 0, 400, 165), (0, 135, 220, 300), (180, 135, 400, 300)]
    assert boxes[1:] == [(90, 67, 310, 232), *corners]
    assert view_boxes(photograph, 1) == boxes[:1]
    assert view_boxes(photograph, 3) == boxes[:3]
    assert view_boxes(photograph, 16) == boxes, "there are no more"


def test_the_picture_of_a_screenshot_is_the_view_behind_the_whole() -> None:
    image = page()
    picture = (40, 130, 360, 390)
    put(image, picture)
    for line in range(420, 560, 16):  # Text, whose lines are too low for a picture.
        put(image, (40, line, 300, line + 7), line)
    put(image, (20, 20, 60, 60), 7)  # An icon.
    assert parts(image) == [picture]
    assert view_boxes(image, 6)[:2] == [(0, 0, 400, 600), picture]


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_the_pictures_of_a_collage_are_parted_by_its_separators(colour: int) -> None:
    image = page(404, 604, colour)
    tiles = [(0, 0, 300, 200), (304, 0, 604, 200), (0, 204, 300, 404), (304, 204, 604, 404)]
    for number, tile in enumerate(tiles):
        put(image, tile, number)
    assert sorted(parts(image)) == sorted(tiles)


def test_a_picture_inside_another_one_is_a_view_behind_those_that_are_parted_and_none_is_there_twice() -> None:
    image, inside = page(480, 640, 245), (300, 120, 500, 360)
    image[:, 20:620] = scene(20, 480, 600)
    image[120:360, 300:500] = cv2.resize(scene(7), (200, 240), interpolation=cv2.INTER_AREA)
    whole, part, framed, *others = view_boxes(image, 6)
    assert (whole, part) == ((0, 0, 640, 480), (20, 0, 620, 480))
    assert overlap(framed, inside) > 0.97
    assert len(others) == 3
    framed_by_white = page()
    framed_by_white[130:390, 40:360] = scene(3, 260, 320)
    assert frames(framed_by_white, 2)
    assert len(view_boxes(framed_by_white, 16)) == 7, "the picture once, and the plain views"
    assert view_boxes(image, 2) == [whole, part]


def test_borders_of_a_letterbox_are_cut_away_even_if_a_jpeg_left_noise_in_them() -> None:
    image = page(600, 400, 10)
    image += np.random.default_rng(3).integers(0, 8, image.shape, dtype=np.uint8)
    put(image, (0, 120, 400, 480))
    assert parts(image) == [(0, 120, 400, 480)]


def test_parts_of_different_sizes_come_the_largest_first() -> None:
    image = page()
    large, small = (20, 300, 380, 560), (20, 40, 200, 200)
    put(image, small)
    put(image, large, 2)
    assert parts(image) == [large, small]


@pytest.mark.parametrize(
    "image",
    [
        page(),
        page(1, 1),
        noise(1, 1),
        noise(2, 900),
        np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (200, 1, 3)),
        noise(300, 300),
    ],
    ids=["flat", "a flat pixel", "a pixel", "a line", "a gradient", "noise"],
)
def test_an_image_without_parts_still_has_views_with_pixels(image: Image) -> None:
    height, width = image.shape[:2]
    boxes = view_boxes(image, 16)
    assert boxes[0] == (0, 0, width, height)
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


def test_stripes_without_end_are_no_endless_work() -> None:
    image = page(900, 900)
    for line in range(0, 900, 12):
        put(image, (0, line, 900, line + 5), line)
    assert len(view_boxes(image, 16)) <= 16
