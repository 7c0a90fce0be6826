import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ImageError, UsageError
from workers.images.alterations import ALTERATIONS, HARDER, Alteration, alter
from workers.images.encode import QUALITY, encode_jpeg


def picture(height: int = 120, width: int = 160, seed: int = 1) -> np.ndarray:
    """Smooth colours, as a photo has them, so that JPEG changes little: RGB uint8 [height, width, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def pixels(data: bytes) -> np.ndarray:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return np.asarray(bgr[:, :, ::-1], dtype=np.int16)


def away(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(np.int16) - second.astype(np.int16)).mean())


def test_there_are_eight_each_under_its_own_name_word_and_sentence() -> None:
    assert list(ALTERATIONS) == [made.name for made in ALTERATIONS.values()]
    assert list(ALTERATIONS) == [
        "jpeg quality 20",
        "half size",
        "flip",
        "brightness",
        "crop 20 %",
        "grey",
        "small rotation",
        "text",
    ]
    assert len({made.slug for made in ALTERATIONS.values()}) == 8
    assert ALTERATIONS["crop 20 %"].slug == "crop-20"
    assert all(made.sentence.endswith(".") for made in ALTERATIONS.values())


@pytest.mark.parametrize("name", ALTERATIONS)
def test_each_gives_the_same_bytes_again_leaves_its_input_alone_and_changes_something(name: str) -> None:
    image = picture()
    before = image.copy()
    first, second = alter(name, image), alter(name, image)
    assert first == second
    assert np.array_equal(image, before)
    assert first != encode_jpeg(image, QUALITY)


def test_the_eight_copies_of_a_photo_all_differ() -> None:
    image = picture()
    assert len({alter(name, image) for name in ALTERATIONS}) == 8


def test_low_quality_is_far_smaller_and_keeps_the_size() -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    poor = alter("jpeg quality 20", image)
    assert len(poor) < 0.5 * len(encode_jpeg(image, QUALITY))
    assert pixels(poor).shape == image.shape


def test_half_size_halves_both_sides_and_keeps_the_picture() -> None:
    image = picture(120, 160)
    half = pixels(alter("half size", image))
    assert half.shape == (60, 80, 3)
    assert away(half, image.reshape(60, 2, 80, 2, 3).mean(axis=(1, 3))) < 3


def test_flip_mirrors_left_to_right() -> None:
    image = picture()
    flipped = pixels(alter("flip", image))
    assert away(flipped, image[:, ::-1]) < 3 < 20 < away(flipped, image)


def test_brightness_lifts_every_value_and_stops_at_white() -> None:
    grey, light = np.full((32, 32, 3), 100, np.uint8), np.full((32, 32, 3), 200, np.uint8)
    assert abs(float(pixels(alter("brightness", grey)).mean()) - 150) <= 1
    assert float(pixels(alter("brightness", light)).mean()) == 255


def test_crop_keeps_the_centre_of_eight_tenths_of_each_side() -> None:
    image = picture(100, 200)
    cropped = pixels(alter("crop 20 %", image))
    assert cropped.shape == (80, 160, 3)
    assert away(cropped, image[10:90, 20:180]) < 3


def test_grey_has_three_equal_channels_of_the_luma() -> None:
    image = picture()
    grey = pixels(alter("grey", image))
    assert np.array_equal(grey[:, :, 0], grey[:, :, 1])
    assert np.array_equal(grey[:, :, 1], grey[:, :, 2])
    assert away(grey[:, :, 0], image @ np.array([0.299, 0.587, 0.114])) < 3


def test_small_rotation_turns_by_five_degrees_about_the_centre_without_black_corners() -> None:
    image = np.full((201, 201, 3), 200, np.uint8)
    image[98:103] = 0
    turned = pixels(alter("small rotation", image))
    assert turned.shape == image.shape
    assert turned[:20, :20].min() > 150
    # Counter-clockwise: the line through the centre rises by 80 tan 5 degrees = 7 px at 80 px to the right of it.
    assert [int(turned[:, x, 0].argmin()) for x in (20, 100, 180)] == pytest.approx([107, 100, 93], abs=2)


@pytest.mark.parametrize("size", [(80, 80), (400, 600), (600, 120)])
def test_text_writes_a_white_caption_on_a_dark_strip_and_nothing_elsewhere(size: tuple[int, int]) -> None:
    height, width = size
    image = np.full((height, width, 3), 128, np.uint8)
    captioned = pixels(alter("text", image))
    strip = captioned[round(height * 0.76) : round(height * 0.90)]
    assert np.median(strip) < 60
    assert strip.max() > 170
    assert away(captioned[: round(height * 0.6)], image[: round(height * 0.6)]) < 1
    # The caption is centred: no letter is cut off by an edge.
    assert strip[:, : max(1, width // 40)].max() < 100
    assert strip[:, -max(1, width // 40) :].max() < 100


@given(
    name=st.sampled_from(list(ALTERATIONS)),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 9),
)
def test_any_image_down_to_one_pixel_becomes_a_jpeg_of_the_expected_size(
    name: str, height: int, width: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = {
        "half size": (max(1, height // 2), max(1, width // 2)),
        "crop 20 %": (height - 2 * (height // 10), width - 2 * (width // 10)),
    }.get(name, (height, width))
    assert pixels(alter(name, image)).shape == (*expected, 3)


def test_red_stays_red() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, :, 0] = 250
    assert pixels(encode_jpeg(image, 95))[8, 8] == pytest.approx([250, 0, 0], abs=6)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'blur'.*small rotation"):
        alter("blur", picture())


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
    ids=["grey", "alpha", "float", "empty"],
)
def test_what_is_no_rgb_image_is_refused_with_its_shape(wrong: np.ndarray) -> None:
    with pytest.raises(ImageError, match="RGB, uint8") as refused:
        alter("flip", wrong)
    assert str(wrong.shape) in str(refused.value)


def test_an_alteration_writes_at_its_own_quality() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    made = Alteration("as it is", "Unchanged.", lambda image: image, quality=55)
    assert made(image) == encode_jpeg(image, 55) != encode_jpeg(image, QUALITY)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (3, 2), (90, 120), (1024, 700)])
def test_the_harder_ones_take_any_image_and_none_grows(size: tuple[int, int]) -> None:
    image = np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), dtype=np.uint8)
    before = image.copy()
    for name, alteration in HARDER.items():
        made = cv2.imdecode(np.frombuffer(alteration(image), np.uint8), cv2.IMREAD_COLOR)
        assert made is not None, name
        assert sorted(made.shape[:2]) <= sorted(size), name
        assert max(made.shape[:2]) <= max(size), name
        assert alteration(image) == alteration(image), name
    np.testing.assert_array_equal(image, before)
    assert not set(HARDER) & set(ALTERATIONS)


def test_the_harder_ones_do_what_they_say() -> None:
    image = np.full((120, 160, 3), 60, np.uint8)
    image[:, :80] = (200, 40, 40)
    turned = HARDER["quarter turn"].change(image)
    assert turned.shape == (160, 120, 3)
    assert (turned[159, 0] == image[0, 0]).all()  # To the left: what was left above is left below.
    corners = HARDER["turn"].change(image)[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 255).all()
    np.testing.assert_array_equal(HARDER["a quarter"].change(image), image[20:80, 40:120])
    assert HARDER["thumbnail"].change(image).shape == (48, 64, 3)
    page = HARDER["page"].change(image)
    assert (page[:12] == 250).all()
    assert (page[12:72, 16:56] == (200, 40, 40)).all()
    assert (page[80:] == 90).all(axis=2).any()
    red, green, blue = HARDER["colour cast"].change(image)[0, 159].astype(int)
    assert red > green > blue
    across = HARDER["blur"].change(image)[60, 70:90, 0].astype(int)
    assert len(set(across.tolist())) > 3
