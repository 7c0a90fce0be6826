import cv2
import numpy as np
import pytest

from benchmarks.truth.queries.alterations import KINDS
from tests.support.images.textured import textured
from workers.images.encode import QUALITY, Image, encode_jpeg

BY_NAME = {kind.name: kind for kind in KINDS}
OTHERS = [textured(seed, 200, 260) for seed in (101, 102, 103)]


def altered(name: str, image: Image, number: int = 0) -> bytes:
    kind = BY_NAME[name]
    return kind(image, OTHERS[: kind.others], number)


def pixels(data: bytes) -> np.ndarray:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return np.asarray(bgr[:, :, ::-1], np.int16)


def away(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(np.int16) - second.astype(np.int16)).mean())


def best_match(scene: np.ndarray, part: np.ndarray) -> float:
    """The best correlation of `part` with any place of `scene`, 1 where it is there as it is."""
    found = cv2.matchTemplate(scene.astype(np.uint8), part.astype(np.uint8), cv2.TM_CCOEFF_NORMED)
    return float(found.max())


def test_there_are_27_each_under_its_own_name_with_a_sentence() -> None:
    assert len(BY_NAME) == len(KINDS) == 27
    assert all(kind.sentence.endswith(".") for kind in KINDS)


def test_the_whole_picture_is_still_there_in_these() -> None:
    assert [kind.name for kind in KINDS if kind.same_pixels] == [
        "jpeg quality 10", "jpeg quality 20", "turn by 90", "turn by 180", "flip", "grey", "squash", "blur", "64 px",
    ]  # fmt: skip


@pytest.mark.parametrize("name", BY_NAME)
def test_each_makes_the_same_image_again_leaves_what_it_is_given_and_changes_something(name: str) -> None:
    image = textured(1)
    before, others = image.copy(), [other.copy() for other in OTHERS]
    first = altered(name, image)
    assert first == altered(name, image)
    assert np.array_equal(image, before)
    assert all(np.array_equal(one, other) for one, other in zip(OTHERS, others, strict=True))
    found = pixels(first)
    assert found.ndim == 3
    assert found.shape[2] == 3
    assert first != encode_jpeg(image, QUALITY)
    assert found.shape != image.shape or away(found, image) > 2


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize(("height", "width"), [(40, 400), (400, 40), (65, 63), (3, 5)])
def test_each_takes_a_picture_of_any_shape(name: str, height: int, width: int) -> None:
    assert pixels(altered(name, textured(2, height, width))).size


def test_all_copies_of_a_photo_differ() -> None:
    image = textured(3)
    assert len({altered(name, image) for name in BY_NAME}) == 27


@pytest.mark.parametrize("name", ["crop to 40 %", "any turn", "meme", "screenshot", "collage", "picture in picture"])
def test_what_is_drawn_by_chance_differs_from_one_photo_to_the_next(name: str) -> None:
    image = textured(4)
    assert len({altered(name, image, number) for number in range(5)}) > 1


@pytest.mark.parametrize(("name", "share"), [("crop to 60 %", 0.6), ("crop to 40 %", 0.4), ("crop to 25 %", 0.25)])
def test_a_crop_is_a_part_of_the_photo_of_that_area(name: str, share: float) -> None:
    image = textured(5)
    part = pixels(altered(name, image))
    assert part.shape[0] * part.shape[1] == pytest.approx(share * 240 * 320, rel=0.02)
    assert best_match(image, part) > 0.95


def test_a_mirrored_crop_is_a_part_of_the_mirrored_photo() -> None:
    image = textured(6)
    part = pixels(altered("mirrored crop", image))
    assert best_match(image[:, ::-1], part) > 0.95 > best_match(image, part)


def test_turns_by_quarters_move_every_pixel_to_its_place() -> None:
    image = textured(7)
    quarter, half = pixels(altered("turn by 90", image)), pixels(altered("turn by 180", image))
    assert min(away(quarter, np.rot90(image, turns)) for turns in (1, 3)) < 9 < away(quarter, np.rot90(image[:, ::-1]))
    assert away(half, image[::-1, ::-1]) < 9 < away(half, image[::-1])


def test_any_turn_is_far_from_each_quarter_and_holds_all_of_the_photo() -> None:
    image = np.full((200, 300, 3), 90, np.uint8)
    image[:, :150] = (250, 60, 60)
    for number in range(8):
        found = pixels(altered("any turn", image, number))
        # Ten degrees away from a quarter, its box is larger than the photo in both directions.
        assert min(found.shape[:2]) > 200
        red = (found[..., 0] > 170) & (found[..., 1] < 120)
        assert red.sum() == pytest.approx(200 * 150, rel=0.05)


def test_the_page_the_collage_and_the_inset_show_the_photo_smaller() -> None:
    image = textured(8, 300, 300)
    collage, inset = pixels(altered("collage", image)), pixels(altered("picture in picture", image))
    assert collage.shape == (664, 664, 3)
    assert best_match(collage, cv2.resize(image, (320, 320))) > 0.9
    small = round(0.38 * inset.shape[0])
    assert best_match(inset, cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)) > 0.9
    page = pixels(altered("screenshot", image))
    assert page.shape == (900, 1280, 3)
    small_page = cv2.resize(page.astype(np.uint8), (320, 225), interpolation=cv2.INTER_AREA)
    sizes = (cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for side in range(92, 136, 2))
    assert max(best_match(small_page, small) for small in sizes) > 0.8


def test_a_quarter_and_more_of_the_photo_is_under_another_one() -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    white = np.full((100, 130, 3), 255, np.uint8)
    found = pixels(BY_NAME["pasted over"](image, [white], 0))
    assert (found > 128).mean() == pytest.approx(0.275, abs=0.02)


def test_letterbox_squash_and_64_px_have_their_shapes() -> None:
    image = textured(9)
    wide = pixels(altered("letterbox", image))
    assert wide.shape[1] / wide.shape[0] == pytest.approx(16 / 9, abs=0.01)
    assert wide[:, :20].max() < 30
    assert pixels(altered("squash", image)).shape == (240, 208, 3)
    assert pixels(altered("64 px", image)).shape == (48, 64, 3)


def test_light_and_colour_change_as_they_say() -> None:
    image = textured(10)
    assert pixels(altered("darker", image)).mean() < 0.75 * image.mean() < 1.1 * image.mean()
    grey = pixels(altered("grey", image))
    assert np.abs(grey[..., 0] - grey[..., 2]).max() < 12
    filtered = pixels(altered("colour filter", image)).astype(np.float64)
    assert filtered.std(axis=2).mean() < image.std(axis=2).mean()
    assert abs(filtered[..., 0].mean() - filtered[..., 2].mean()) > abs(
        float(image[..., 0].mean() - image[..., 2].mean())
    )


def test_blur_takes_the_detail_and_a_print_adds_paper() -> None:
    image = textured(11)
    edges = cv2.Laplacian(image, cv2.CV_64F).var()
    assert cv2.Laplacian(pixels(altered("blur", image)).astype(np.uint8), cv2.CV_64F).var() < 0.3 * edges
    scan = pixels(altered("print and scan", image))
    assert scan.shape[0] > 240
    assert scan[:4].mean() > 180
