"""Every kind of image file becomes RGB pixels or a failure with its reason, in order and in bounded memory."""

import contextlib
import hashlib
import io
import itertools
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, PngImagePlugin

from shared.errors import ImageError, SettingsError
from shared.images.location import Location
from shared.images.paths import to_text
from shared.models.preprocessing import DECODES
from tests.support.images.strange import (
    SIDE,
    apng_frame,
    deflated_zeros,
    encoded,
    gif,
    grey_tiff,
    jpeg_of_another_size,
    jpeg_with_a_second_frame_header,
    patched,
    png,
    png_16_bit,
    png_chunk,
    png_header,
    tiled_tiff,
    webp_canvas,
    ycck,
)
from workers.images import header
from workers.images import read as read_module
from workers.images.decode import decode, decode_photo
from workers.images.header import FORMATS
from workers.images.read import ReadImage, read_image
from workers.images.stream import stream_images

SIZE = 32
ROOMY = 10**8


def quadrants(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """Red, green, blue and grey quarters: any exchange of channels or sides shows."""
    image = Image.new("RGB", (width, height), (120, 120, 120))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width // 2 - 1, height // 2 - 1), (220, 30, 20))
    draw.rectangle((width // 2, 0, width - 1, height // 2 - 1), (20, 200, 40))
    draw.rectangle((0, height // 2, width // 2 - 1, height - 1), (10, 40, 210))
    return image.convert(mode)


def quarters(image: Image.Image) -> NDArray[np.uint8]:
    """The colours of `image` as they must come out of `decode`."""
    return corners(np.asarray(image.convert("RGB").resize((SIZE, SIZE))))


def corners(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middles of the four quarters, in reading order."""
    at, far = len(pixels) // 4, 3 * len(pixels) // 4
    return pixels[[at, at, far, far], [at, far, at, far]]


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8))


COLOURS = corners(np.asarray(quadrants().resize((SIZE, SIZE))))
GREYS = corners(np.asarray(quadrants(mode="L").convert("RGB").resize((SIZE, SIZE))))


@pytest.mark.parametrize(
    ("kind", "mode", "expected"),
    [
        ("JPEG", "RGB", COLOURS),
        ("JPEG", "L", GREYS),
        ("JPEG", "CMYK", COLOURS),
        ("PNG", "RGB", COLOURS),
        ("PNG", "RGBA", COLOURS),
        ("PNG", "P", COLOURS),
        ("PNG", "L", GREYS),
        ("PNG", "LA", GREYS),
        ("WEBP", "RGB", COLOURS),
        ("WEBP", "RGBA", COLOURS),
        ("GIF", "P", COLOURS),
        ("BMP", "RGB", COLOURS),
        ("TIFF", "RGB", COLOURS),
        ("TIFF", "CMYK", COLOURS),
        ("JPEG2000", "RGB", COLOURS),
        ("PPM", "RGB", COLOURS),
        ("AVIF", "RGB", COLOURS),
    ],
)
def test_every_format_and_mode_becomes_eight_bit_rgb(kind: str, mode: str, expected: NDArray[np.uint8]) -> None:
    if kind not in FORMATS:
        pytest.skip(f"this build of Pillow has no {kind}")
    found = decode(encoded(quadrants(mode=mode), kind), SIZE, ROOMY)
    assert found.pixels.shape == (SIZE, SIZE, 3)
    assert found.pixels.dtype == np.uint8
    assert found.pixels.flags.c_contiguous
    assert (found.width, found.height) == (64, 48)
    np.testing.assert_allclose(corners(found.pixels).astype(int), expected, atol=12)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_high_byte(kind: str) -> None:
    grey = np.asarray(quadrants(mode="L")).astype(np.uint16) * 257
    found = decode(encoded(Image.fromarray(grey), kind), SIZE, ROOMY)
    np.testing.assert_allclose(corners(found.pixels).astype(int), GREYS, atol=2)


@pytest.mark.parametrize("how", ["reduced", "reduced-opaque"])
@pytest.mark.parametrize("alpha", [[], [9]])
def test_sixteen_bit_colours_keep_their_high_byte(alpha: list[int], how: str) -> None:
    pixels = np.asarray(quadrants())
    expected = COLOURS.astype(int)
    for value in alpha:
        pixels = np.dstack([pixels, np.full(pixels.shape[:2], value, np.uint8)])
        expected = expected if how == "reduced-opaque" else 255 - (255 - expected) * value // 255
    found = decode(png_16_bit(pixels), SIZE, ROOMY, how)
    np.testing.assert_allclose(corners(found.pixels).astype(int), expected, atol=2)


@pytest.mark.parametrize("suffix", [".tiff", ".png", ".jp2", ".ppm"])
def test_sixteen_bit_files_of_opencv_come_back(suffix: str) -> None:
    done, data = cv2.imencode(suffix, np.asarray(quadrants())[..., ::-1].astype(np.uint16) * 257)
    assert done
    np.testing.assert_allclose(corners(decode(data.tobytes(), SIZE, ROOMY).pixels).astype(int), COLOURS, atol=2)


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"optimize": True, "quality": 100}])
@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_a_jpeg_of_any_kind_gives_its_colours(mode: str, options: dict[str, Any]) -> None:
    found = decode(encoded(quadrants(mode=mode), "JPEG", **options), SIZE, ROOMY)
    np.testing.assert_allclose(corners(found.pixels).astype(int), GREYS if mode == "L" else COLOURS, atol=12)


def test_a_ycck_jpeg_gives_its_colours() -> None:
    np.testing.assert_allclose(corners(decode(ycck(quadrants()), SIZE, ROOMY).pixels).astype(int), COLOURS, atol=12)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_tiff_of_any_compression_gives_its_colours(mode: str, compression: str) -> None:
    data = encoded(quadrants(mode=mode), "TIFF", compression=compression)
    found = corners(decode(data, SIZE, ROOMY).pixels).astype(int)
    np.testing.assert_allclose(found, GREYS if mode == "L" else COLOURS, atol=12)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1"])
def test_a_tiff_of_any_mode_gives_its_colours(mode: str) -> None:
    image = quadrants(mode=mode)
    found = decode(encoded(image, "TIFF"), SIZE, ROOMY).pixels
    if mode == "1":  # A pattern of dots, which shrinking makes grey again.
        assert len(np.unique(found)) > 2
        np.testing.assert_allclose(found.mean(), np.asarray(image).mean() * 255, atol=6)
    else:
        np.testing.assert_allclose(corners(found).astype(int), quarters(image), atol=12)


@pytest.mark.parametrize(("width", "height", "side"), [(64, 64, 32), (200, 140, 64), (300, 300, 128)])
def test_a_tiled_tiff_gives_its_colours(width: int, height: int, side: int) -> None:
    found = decode(tiled_tiff(np.asarray(quadrants(width, height, "L")), side), SIZE, ROOMY)
    assert (found.width, found.height) == (width, height)
    np.testing.assert_allclose(corners(found.pixels).astype(int), GREYS, atol=2)


def test_a_tiff_of_many_pages_gives_its_first() -> None:
    data = encoded(quadrants(), "TIFF", save_all=True, append_images=[Image.new("RGB", (64, 48), (255, 255, 255))])
    np.testing.assert_allclose(corners(decode(data, SIZE, ROOMY).pixels).astype(int), COLOURS, atol=2)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_tiff_of_floats_is_decoded_from_0_to_1_and_else_a_failure_that_names_it(mode: str) -> None:
    pixels = np.asarray(quadrants(mode=mode))
    expected = decode(encoded(quadrants(mode=mode), "TIFF"), SIZE, ROOMY).pixels
    done, data = cv2.imencode(".tiff", pixels.reshape(*pixels.shape[:2], -1)[..., ::-1].astype(np.float32) / 255)
    assert done
    np.testing.assert_array_equal(decode(data.tobytes(), SIZE, ROOMY).pixels, expected)
    done, data = cv2.imencode(".tiff", pixels.astype(np.float32))
    with pytest.raises(ImageError, match=r"TIFF.*holds floats from \d+ to \d+; expected are samples") as caught:
        decode(data.tobytes(), SIZE, ROOMY)
    assert caught.value.status == "undecodable"


@pytest.mark.parametrize(
    "options", [{"transparency": 0}, {"transparency": bytes(range(200))}], ids=["one-colour", "many"]
)
@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_with_transparency_gives_its_colours(kind: str, options: dict[str, Any]) -> None:
    image = quadrants().convert("P", palette=Image.Palette.ADAPTIVE)
    options = options if kind == "PNG" else {"transparency": 255}
    data = encoded(image, kind, **options)
    shown = Image.new("RGBA", image.size, "white")
    with Image.open(io.BytesIO(data)) as written:
        shown.alpha_composite(written.convert("RGBA"))
    np.testing.assert_allclose(corners(decode(data, SIZE, ROOMY).pixels).astype(int), quarters(shown), atol=12)
    dropped = decode(data, SIZE, ROOMY, "reduced-opaque")
    np.testing.assert_allclose(corners(dropped.pixels).astype(int), COLOURS, atol=12)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (3, 7)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "AVIF"])
def test_the_smallest_and_the_thinnest_images_give_their_colour(kind: str, size: tuple[int, int]) -> None:
    if kind not in FORMATS or (kind == "WEBP" and max(size) > 16_383):
        pytest.skip("no such image can be written")
    found = decode(encoded(Image.new("RGB", size, (200, 100, 50)), kind), SIZE, ROOMY)
    assert (found.width, found.height) == size
    np.testing.assert_allclose(found.pixels.reshape(-1, 3), [[200, 100, 50]] * SIZE * SIZE, atol=4)


@pytest.mark.parametrize("how", ["reduced", "reduced-opaque"])
@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
@pytest.mark.parametrize("most", [100, 255, 1023, 65535])
def test_white_is_white_in_a_ppm_whatever_number_it_counts_to(most: int, kind: str, how: str) -> None:
    colour = kind in ("P3", "P6")
    samples = np.asarray(quadrants(mode="RGB" if colour else "L")).astype(int) * most // 255
    if kind in ("P2", "P3"):
        body = b" ".join(b"%d" % value for value in samples.ravel()) + b"\n"
    else:
        body = samples.astype(np.uint8 if most < 256 else ">u2").tobytes()
    data = kind.encode() + b"\n# 9 9 255 \n64 48\n%d\n" % most + body
    found = decode(data, SIZE, ROOMY, how)
    np.testing.assert_allclose(corners(found.pixels).astype(int), COLOURS if colour else GREYS, atol=4)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"P7\nWIDTH 1\n", "PAM"),
        (b"\x76\x2f\x31\x01" + bytes(99), "OpenEXR"),
    ],
)
def test_a_format_that_is_not_decoded_is_named(data: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=rf"The file is an? {name}.*not decoded here \(JPEG, PNG") as caught:
        decode(data, SIZE, ROOMY)
    assert caught.value.status == "undecodable"


def test_a_format_that_this_build_leaves_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "FORMATS", tuple(name for name in FORMATS if name not in ("AVIF", "WEBP")))
    if "AVIF" in FORMATS:
        with pytest.raises(ImageError, match="The file is an AVIF image, which is not decoded here"):
            decode(encoded(quadrants(), "AVIF"), SIZE, ROOMY)
    with pytest.raises(ImageError, match="The file is a WebP image, which is not decoded here"):
        decode(encoded(quadrants(), "WEBP"), SIZE, ROOMY)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "JPEG"])
def test_a_damaged_header_of_a_known_format_is_told_from_a_file_that_is_no_image(kind: str) -> None:
    beginning = {"JPEG": 6, "GIF": 8, "TIFF": 8}.get(kind, 12)
    with pytest.raises(ImageError, match=f"{kind}|damaged|cut short") as caught:
        decode(encoded(quadrants(), kind)[:beginning] + b"\xff" * 500, SIZE, ROOMY)
    assert caught.value.status in ("undecodable", "truncated")


def test_one_bit_becomes_black_and_white() -> None:
    found = decode(encoded(Image.new("1", (40, 40), 1), "PNG"), SIZE, ROOMY)
    assert (found.pixels == 255).all()
    assert (decode(encoded(Image.new("1", (40, 40), 0), "PNG"), SIZE, ROOMY).pixels == 0).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    data = encoded(quadrants(), kind, save_all=True, append_images=[Image.new("RGB", (64, 48), (255, 255, 255))])
    np.testing.assert_allclose(corners(decode(data, SIZE, ROOMY).pixels).astype(int), COLOURS, atol=12)


def test_samples_of_32_bits_are_a_failure_with_a_reason() -> None:
    with pytest.raises(ImageError, match="TIFF data of 64 x 48") as caught:
        decode(encoded(quadrants(mode="I"), "TIFF"), SIZE, ROOMY)
    assert caught.value.status == "undecodable"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("width", [64, 512])
@pytest.mark.parametrize("how", DECODES)
def test_each_of_the_eight_orientations_gives_the_same_upright_pixels(kind: str, width: int, how: str) -> None:
    if kind not in FORMATS:
        pytest.skip(f"this build of Pillow has no {kind}")
    # How the camera's sensor saw what is upright in `quadrants`, for each orientation that it may record.
    turns = [None, *Image.Transpose]
    seen = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    for orientation, turn in seen.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright = quadrants(width, width)
        image = upright if turn is None else upright.transpose(turns[turn + 1])
        options = {"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}
        found = decode(encoded(image, kind, exif=exif, **options), SIZE, ROOMY, how)
        np.testing.assert_allclose(corners(found.pixels).astype(int), COLOURS, atol=12, err_msg=str(orientation))


@pytest.mark.parametrize("how", DECODES)
def test_an_orientation_turns_what_is_not_square_as_it_turns_a_square(how: str) -> None:
    upright, exif = quadrants(640, 300), Image.Exif()
    exif[0x0112] = 6
    turned = encoded(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)
    found = decode(turned, SIZE, ROOMY, how)
    assert (found.width, found.height) == (300, 640)
    np.testing.assert_allclose(corners(found.pixels).astype(int), COLOURS, atol=12)


def test_width_and_height_are_those_of_the_header_before_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode(encoded(quadrants(80, 20), "JPEG", exif=exif), SIZE, ROOMY)
    assert (found.width, found.height) == (80, 20)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_shrinking_averages_fine_lines_instead_of_dropping_them(kind: str) -> None:
    lines = np.zeros((512, 512, 3), np.uint8)
    lines[::8] = 255
    found = decode(encoded(Image.fromarray(lines), kind), SIZE, ROOMY).pixels
    np.testing.assert_allclose(found, 255 / 8, atol=4)


def test_enlarging_interpolates() -> None:
    ramp = np.linspace(0, 255, 4, dtype=np.uint8)[None, :, None].repeat(4, 0).repeat(3, 2)
    row = decode(encoded(Image.fromarray(ramp), "PNG"), SIZE, ROOMY).pixels[SIZE // 2, :, 0]
    assert len(np.unique(row)) > SIZE // 2
    assert (np.diff(row.astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("width", "height", "kind", "flag"),
    [
        (512, 600, "JPEG", cv2.IMREAD_REDUCED_COLOR_8),
        (900, 511, "JPEG", cv2.IMREAD_REDUCED_COLOR_4),
        (255, 900, "JPEG", cv2.IMREAD_REDUCED_COLOR_2),
        (127, 900, "JPEG", cv2.IMREAD_COLOR),
        (600, 600, "PNG", cv2.IMREAD_COLOR),
    ],
)
def test_only_a_jpeg_is_reduced_and_its_short_side_stays_twice_the_image_size(
    monkeypatch: pytest.MonkeyPatch, width: int, height: int, kind: str, flag: int
) -> None:
    used: list[int] = []
    imdecode = cv2.imdecode

    def noting(data: Any, how: int) -> Any:
        used.append(how)
        return imdecode(data, how)

    monkeypatch.setattr(cv2, "imdecode", noting)
    decode(encoded(quadrants(width, height), kind), SIZE, ROOMY)
    assert used == [flag]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(1000, 800), (640, 41), (20, 15)])
def test_the_strict_way_is_that_of_the_article(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / f"photo.{kind.lower()}"
    path.write_bytes(encoded(noise(50, 40).resize(size), kind))
    bgr = cv2.imread(str(path))
    assert bgr is not None
    expected = cv2.cvtColor(cv2.resize(bgr, (SIZE, SIZE)), cv2.COLOR_BGR2RGB)
    found = decode(path.read_bytes(), SIZE, ROOMY, "strict").pixels
    np.testing.assert_array_equal(found, expected)
    differs = not np.array_equal(found, decode(path.read_bytes(), SIZE, ROOMY, "reduced").pixels)
    assert differs == (min(size) > SIZE)  # What grows is interpolated either way.
    np.testing.assert_array_equal(read_image(Location(str(path)), SIZE, ROOMY, ROOMY, "strict").pixels, expected)


@pytest.mark.parametrize("how", DECODES)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
@pytest.mark.slow
def test_the_pixels_of_a_file_are_in_memory_once(kind: str, how: str, tmp_path: Path) -> None:
    width, height = 1600, 1200
    path = tmp_path / "photo"
    path.write_bytes(encoded(noise(40, 30).resize((width, height)), kind))
    read_image(Location(str(path)), SIZE, ROOMY, ROOMY, how)  # What is only made once is made now.
    tracemalloc.start()
    try:
        read_image(Location(str(path)), SIZE, ROOMY, ROOMY, how)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A reduced JPEG of four times the image size and more is an eighth of itself.
    pixels = width * height * 3 // (64 if kind == "JPEG" and how == "reduced" else 1)
    assert pixels < peak < 1.02 * pixels + path.stat().st_size + 100_000


def test_a_reduced_jpeg_looks_like_the_full_one() -> None:
    data = encoded(noise(50, 40).resize((1000, 800)), "JPEG", quality=90)
    full = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert full is not None
    expected = cv2.resize(full, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[..., ::-1].astype(float)
    found = decode(data, SIZE, ROOMY).pixels.astype(float)
    assert np.abs(found - expected).mean() < 2.5


def test_an_empty_file_says_so() -> None:
    with pytest.raises(ImageError, match="empty") as caught:
        decode(b"", SIZE, ROOMY)
    assert caught.value.status == "empty"


@pytest.mark.parametrize("data", [b"hello, world", b"%PDF-1.7\n", b"\0" * 100, b"<svg/>", b"\xff\xd8"])
def test_what_is_no_image_says_so(data: bytes) -> None:
    with pytest.raises(ImageError, match="JPEG, PNG") as caught:
        decode(data, SIZE, ROOMY)
    assert caught.value.status == "not-an-image"


def test_too_many_pixels_are_refused_by_the_header_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("the pixels were decoded"))
    with pytest.raises(ImageError, match=r"3,072 pixels \(64 x 48\); at most 3,071") as caught:
        decode(encoded(quadrants(), "PNG"), SIZE, 64 * 48 - 1)
    assert caught.value.status == "oversized"


def test_exactly_the_most_pixels_are_decoded() -> None:
    assert decode(encoded(quadrants(), "PNG"), SIZE, 64 * 48).width == 64


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_download_that_stopped_midway_is_truncated(kind: str, options: dict[str, Any]) -> None:
    data = encoded(noise(80, 60), kind, **options)
    for end in range(len(data) // 4, len(data) - 1, len(data) // 17):
        for tail in (b"", bytes(len(data) - end)):
            if kind == "WEBP" and tail:
                continue  # Its length is right, so only OpenCV can tell, as it likes.
            with pytest.raises(ImageError) as caught:
                decode(data[:end] + tail, SIZE, ROOMY)
            assert caught.value.status == "truncated"


def test_the_end_marker_of_a_thumbnail_does_not_pass_for_that_of_the_image() -> None:
    exif = b"Exif\0\0" + encoded(noise(16, 16), "JPEG")
    data = encoded(noise(80, 60), "JPEG", exif=exif)
    assert decode(data, SIZE, ROOMY).width == 80
    with pytest.raises(ImageError) as caught:
        decode(data[: len(data) // 2] + bytes(5000), SIZE, ROOMY)
    assert caught.value.status == "truncated"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM"])
def test_other_formats_cut_short_are_failures_too_and_print_nothing(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = encoded(noise(80, 60), kind)
    with pytest.raises(ImageError):
        decode(data[: len(data) // 2], SIZE, ROOMY)
    assert capfd.readouterr().err == ""


BEGINNINGS = [encoded(quadrants(), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")]


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_an_image_error(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data, SIZE, ROOMY)
    assert caught.value.status in {"empty", "not-an-image", "truncated", "undecodable", "oversized"}


@given(st.sampled_from(BEGINNINGS), st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=4))
@settings(max_examples=300)
def test_a_damaged_image_gives_pixels_or_an_image_error(data: bytes, flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for at, flip in flips:
        damaged[at % len(damaged)] ^= flip
    try:
        outcome = str(decode(bytes(damaged), SIZE, 10**6).pixels.shape)
    except ImageError as error:
        outcome = error.status
    failures = {"not-an-image", "truncated", "undecodable", "oversized"} if flips else set()
    assert outcome in {str((SIZE, SIZE, 3))} | failures


# Bombs: small files that ask for much. Each runs in a process of its own, whose memory is then known.

IMPATIENT = """
import json, sys, time
from shared.errors import ImageError
from workers.images.decode import decode
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
for size in json.loads(sys.argv[1]):
    data, before, began = sys.stdin.buffer.read(size), peak(), time.process_time()
    try:
        outcome = decode(data, 224, 178_956_970).pixels.mean(axis=(0, 1)).tolist()
    except ImageError as error:
        outcome = error.status
    print(json.dumps([outcome, peak() - before, time.process_time() - began]))
"""


def small() -> Image.Image:
    return noise(64, 48)


def bombs() -> dict[str, tuple[bytes, set[str]]]:
    """Files of at most 1.5 MB, with the statuses that they may have; "pixels" for none."""
    refused = {"oversized"}
    wrong = {"undecodable", "not-an-image", "oversized"}
    jpeg, jp2, webp = encoded(small(), "JPEG"), encoded(small(), "JPEG2000"), encoded(small(), "WEBP")
    bmp, lossless = encoded(small(), "BMP"), encoded(small(), "WEBP", lossless=True)
    zeros = deflated_zeros(1 << 28)
    line = b"\0\1\2\3"
    progressive = encoded(Image.new("L", (2000, 2000)), "JPEG", progressive=True)
    last_scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    found = {
        "png header": (png(SIDE, SIDE, b""), refused),
        "png honest": (png(SIDE, SIDE, zeros, bits=1, colour=0, compressed=True), refused),
        "png two headers": (png(1, 1, line, before=png_header(SIDE, SIDE)), wrong),
        "png more data than pixels": (png(1, 1, zeros, compressed=True), {"undecodable"}),
        "png text": (png(1, 1, line, before=png_chunk(b"zTXt", b"a\0\0" + zeros)), {"undecodable", "pixels"}),
        "png texts": (
            png(1, 1, line, before=png_chunk(b"zTXt", b"a\0\0" + deflated_zeros(1 << 20)) * 500),
            {"undecodable", "pixels"},
        ),
        "png profile": (png(1, 1, line, before=png_chunk(b"iCCP", b"a\0\0" + zeros)), {"undecodable", "pixels"}),
        "png huge frame": (png(1, 1, line, before=apng_frame(SIDE, SIDE)), wrong),
        "png a million frames": (png(1, 1, line, before=apng_frame(1, 1)), {"pixels"}),
        "gif screen": (gif((SIDE, SIDE), (1, 1)), refused),
        "gif frame": (gif((8, 8), (SIDE, SIDE)), refused),
        "gif 50,000 frames": (gif((1000, 1000), (1000, 1000), frames=50_000), {"truncated"}),
        "bmp": (bmp[:18] + struct.pack("<ii", SIDE, SIDE) + bmp[26:], refused),
        "bmp upside down": (bmp[:18] + struct.pack("<ii", SIDE, -SIDE) + bmp[26:], refused),
        "bmp mirrored": (bmp[:18] + struct.pack("<ii", -SIDE, SIDE) + bmp[26:], refused),
        "ppm": (b"P6 40000 40000 255\n" + bytes(99), refused),
        "pbm": (b"P4 40000 40000\n" + bytes(99), refused),
        "tiff": (grey_tiff(SIDE, SIDE, bytes(99), SIDE), refused),
        "tiff of a small strip": (grey_tiff(13_000, 13_000, bytes(99), 13_000), {"truncated"}),
        "tiff of many rows": (grey_tiff(64, 48, bytes(64 * 48), 2**31 - 1), wrong | {"pixels"}),
        "jpeg": (jpeg_of_another_size(jpeg, SIDE, SIDE), refused),
        "jpeg later size": (jpeg_with_a_second_frame_header(jpeg, SIDE, SIDE, after=True), wrong),
        "jpeg earlier size": (jpeg_with_a_second_frame_header(jpeg, SIDE, SIDE, after=False), wrong),
        "jpeg scans": (progressive[:-2] + last_scan * 5_000 + b"\xff\xd9", {"undecodable"}),
        "jpeg thumbnail": (
            encoded(small(), "JPEG", exif=b"Exif\0\0" + grey_tiff(SIDE, SIDE, bytes(99), SIDE)),
            {"pixels"},
        ),
        "mpo": (encoded(small(), "MPO", save_all=True, append_images=[noise(8, 8)]) + zeros, {"pixels"}),
        "jpeg 2000 box": (patched(jp2, b"ihdr", 4, ">II", SIDE, SIDE), refused),
        "jpeg 2000 codestream": (patched(jp2, b"\xff\x4f\xff\x51", 8, ">II", SIDE, SIDE), wrong),
        "jpeg 2000 tiles": (patched(jp2, b"\xff\x4f\xff\x51", 8, ">6I", SIDE, SIDE, 0, 0, SIDE, SIDE), wrong),
        "webp": (patched(webp, b"\x9d\x01\x2a", 3, "<HH", 16383, 16383), refused),
        "webp lossless": (patched(lossless, b"VP8L", 9, "<I", 16382 | 16382 << 14), refused),
        "webp canvas": (webp_canvas(webp, SIDE, animated=False), wrong),
        "webp animation": (webp_canvas(webp, SIDE, animated=True), refused),
    }
    if "AVIF" in FORMATS:
        found["avif"] = (patched(encoded(small(), "AVIF"), b"ispe", 8, ">II", SIDE, SIDE), wrong)
    return found


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the system does not tell a process's peak memory")
@pytest.mark.slow
def test_bombs_of_every_format_are_refused_or_harmless_in_bounded_memory_and_time() -> None:
    files = bombs()
    assert max(len(data) for data, _ in files.values()) < 1_500_000
    done = subprocess.run(
        [sys.executable, "-c", IMPATIENT, json.dumps([len(data) for data, _ in files.values()])],
        input=b"".join(data for data, _ in files.values()),
        capture_output=True,
        check=True,
    )
    found = {name: json.loads(line) for name, line in zip(files, done.stdout.splitlines(), strict=True)}
    for name, (_, expected) in files.items():
        outcome, megabytes, seconds = found[name]
        assert (outcome if isinstance(outcome, str) else "pixels") in expected, name
        assert megabytes < 64, name
        assert seconds < 10, name
    plain = decode(encoded(small(), "JPEG"), 224, ROOMY).pixels.mean(axis=(0, 1))
    np.testing.assert_allclose(found["jpeg thumbnail"][0], plain, atol=0.01)


def test_a_png_may_be_larger_than_its_pixels_where_it_carries_other_things(monkeypatch: pytest.MonkeyPatch) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b" * 200_000)
    data = encoded(quadrants(), "PNG", pnginfo=info)
    np.testing.assert_allclose(corners(decode(data, SIZE, ROOMY).pixels).astype(int), COLOURS, atol=2)
    stored = encoded(noise(400, 300), "PNG", compress_level=0)
    assert decode(stored, SIZE, ROOMY).width == 400


def test_large_images_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once: list[int] = []
    together = threading.Semaphore(2)
    imdecode = cv2.imdecode

    def noting(data: Any, flag: int) -> Any:
        assert together.acquire(blocking=False)
        at_once.append(1 - together._value)
        try:
            return imdecode(data, flag)
        finally:
            together.release()

    monkeypatch.setattr(cv2, "imdecode", noting)
    monkeypatch.setattr("workers.images.decode.LARGE", 64 * 48 - 1)
    data = encoded(quadrants(), "PNG")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: decode(data, SIZE, ROOMY), range(200)))
    assert set(at_once) == {0}


def read(path: Path | str, max_bytes: int = ROOMY) -> ReadImage:
    return read_image(Location(str(path)), SIZE, ROOMY, max_bytes)


def test_a_read_image_carries_its_size_its_checksum_and_its_pixels(tmp_path: Path) -> None:
    data = encoded(quadrants(), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    found = read(tmp_path / "a.png", len(data))
    assert (found.path, found.status, found.error_message) == (str(tmp_path / "a.png"), "ok", None)
    assert (found.bytes, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (found.width, found.height) == (64, 48)
    np.testing.assert_array_equal(found.pixels, decode(data, SIZE, ROOMY).pixels)


def test_an_image_that_can_not_be_decoded_still_carries_its_checksum(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    found = read(tmp_path / "a.jpg")
    assert (found.status, found.pixels, found.width) == ("not-an-image", None, None)
    assert (found.bytes, found.sha256) == (8, hashlib.sha256(b"no image").hexdigest())
    assert found.error_message is not None
    assert found.error_message.endswith(".")


def test_a_file_that_becomes_a_fifo_before_it_is_opened_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"bytes")
    look = os.stat

    def then_replaced(*arguments: Any, **options: Any) -> os.stat_result:
        found = look(*arguments, **options)
        if str(arguments[0]) == str(path):
            path.unlink()
            os.mkfifo(path)
        return found

    monkeypatch.setattr(os, "stat", then_replaced)
    found = read(path)
    assert (found.status, found.error_message) == ("unreadable", "It is no regular file.")


class Changing(io.FileIO):
    """A file that is written to or cut off while it is read, after its first `after` bytes."""

    after, grows = 1000, True

    def read(self, size: int | None = -1, /) -> bytes:
        if self.grows:
            return b"x" * (size or 0)
        left = self.after - self.tell()
        return super().read(min(left, size or 0))


def test_a_file_that_grows_without_end_is_read_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"bytes")
    monkeypatch.setattr("builtins.open", lambda path, *_, **__: Changing(path))
    found = read(tmp_path / "a.jpg", 1_000_000)
    assert (found.status, found.bytes, found.sha256) == ("oversized", None, None)
    assert "grew to more than 1,000,000 bytes" in str(found.error_message)


def test_a_file_that_shrinks_while_it_is_read_is_judged_by_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(noise(80, 60), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    monkeypatch.setattr(Changing, "grows", False)
    monkeypatch.setattr("builtins.open", lambda path, *_, **__: Changing(path))
    found = read(tmp_path / "a.png")
    assert (found.status, found.bytes) == ("truncated", 1000)
    assert found.sha256 == hashlib.sha256(data[:1000]).hexdigest()


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(path.parent):
        listener.bind(path.name)


def make_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_link_to_a_fifo(path: Path) -> None:
    os.mkfifo(path.with_suffix(".fifo"))
    path.symlink_to(path.with_suffix(".fifo"))


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_loop(path: Path) -> None:
    path.symlink_to(path)


def make_nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (make_fifo, "unreadable"),
        (make_folder, "unreadable"),
        (make_loop, "unreadable"),
        (make_socket, "unreadable"),
        (make_link_to_a_device, "unreadable"),
        (make_link_to_a_fifo, "unreadable"),
        (make_nothing, "vanished"),
    ],
)
def test_what_is_no_file_is_a_row_and_never_blocks(tmp_path: Path, make: Callable[[Path], None], status: str) -> None:
    make(tmp_path / "a.jpg")
    found = read(tmp_path / "a.jpg")
    assert (found.status, found.bytes, found.sha256, found.pixels) == (status, None, None, None)
    assert found.error_message


def test_a_folder_that_became_a_file_is_a_vanished_image(tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"")
    assert read(tmp_path / "folder" / "a.jpg").status == "vanished"


@pytest.mark.parametrize("path", ["/a\0b.jpg", "/" + "a" * 5000])
def test_a_path_that_can_not_be_opened_is_a_row(path: str) -> None:
    assert read(path).status == "unreadable"


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_disk_that_refuses_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    (tmp_path / "a.jpg").write_bytes(b"bytes")
    monkeypatch.setattr("builtins.open", refuse)
    found = read(tmp_path / "a.jpg")
    assert found.status == "unreadable"
    assert str(error.strerror) in str(found.error_message)


def test_a_file_of_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(bytes(1000))
    found = read(tmp_path / "a.jpg", 999)
    assert (found.status, found.sha256) == ("oversized", None)
    assert "1,000 bytes; at most 999" in str(found.error_message)
    assert read(tmp_path / "a.jpg", 1000).status == "not-an-image"


def test_a_file_whose_name_is_no_utf8_is_opened(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    try:
        with open(path, "wb") as file:
            file.write(encoded(quadrants(), "PNG"))
    except OSError:
        pytest.skip("this file system takes no names but UTF-8")
    text = to_text(os.fsdecode(path))
    assert (read(text).status, read(text).path) == ("ok", text)


def row(path: str) -> ReadImage:
    return ReadImage(path, None, None, None, None, None, "vanished", None)


def stream(paths: Any, threads: int = 2, ahead: int = 4) -> Any:
    def reading(place: int, location: Location) -> ReadImage:
        return read_module.read_image(location, SIZE, ROOMY, ROOMY)

    return stream_images(map(Location, paths), read=reading, threads=threads, ahead=ahead)


def decode_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_images_come_in_the_order_of_their_paths_whoever_is_done_first(monkeypatch: pytest.MonkeyPatch) -> None:
    second_is_done = threading.Event()

    def slow_first(location: Location, *_: Any) -> ReadImage:
        path = location.path
        if path == "0":
            assert second_is_done.wait(30)
        if path == "1":
            second_is_done.set()
        return row(path)

    monkeypatch.setattr(read_module, "read_image", slow_first)
    assert [image.path for image in stream(map(str, range(20)))] == [str(number) for number in range(20)]
    assert not decode_threads()


def test_real_files_are_streamed_with_their_failures_in_place(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(quadrants(), "PNG"))
    (tmp_path / "c.jpg").write_bytes(b"")
    paths = [str(tmp_path / name) for name in ("a.png", "b.png", "c.jpg", "a.png")]
    images = list(stream(paths))
    assert [(image.path, image.status) for image in images] == list(
        zip(paths, ["ok", "vanished", "empty", "ok"], strict=True)
    )
    np.testing.assert_array_equal(images[0].pixels, images[3].pixels)


@pytest.mark.parametrize("ahead", [1, 5])
def test_no_more_than_ahead_images_are_in_flight_or_waiting(monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    pulled = 0

    def paths() -> Iterator[str]:
        nonlocal pulled
        for number in itertools.count():
            pulled += 1
            yield str(number)

    monkeypatch.setattr(read_module, "read_image", lambda location, *_: row(location.path))
    images = stream(paths(), threads=3, ahead=ahead)
    assert pulled == 0
    for given_out in range(1, 50):
        next(images)
        assert pulled == given_out + ahead
    images.close()


def test_closing_early_ends_the_threads_and_drops_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    go_on = threading.Event()

    def held(location: Location, *_: Any) -> ReadImage:
        path = location.path
        begun.append(path)
        if path != "0":
            assert go_on.wait(30)
        return row(path)

    monkeypatch.setattr(read_module, "read_image", held)
    images = stream(map(str, itertools.count()), threads=1, ahead=50)
    assert next(images).path == "0"
    assert decode_threads()
    shutdown = ThreadPoolExecutor.shutdown

    def let_go_once_the_rest_is_dropped(pool: ThreadPoolExecutor, wait: bool, cancel_futures: bool) -> None:
        shutdown(pool, wait=False, cancel_futures=cancel_futures)
        go_on.set()
        shutdown(pool, wait=wait)

    # Whoever closes waits for the image under way, which here waits for the others to be dropped.
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", let_go_once_the_rest_is_dropped)
    images.close()
    assert not decode_threads()
    assert len(begun) <= 2


def test_an_unexpected_error_reaches_the_caller_and_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_at_three(location: Location, *_: Any) -> ReadImage:
        path = location.path
        if path == "3":
            raise RuntimeError("a bug")
        return row(path)

    monkeypatch.setattr(read_module, "read_image", fails_at_three)
    seen = []
    with pytest.raises(RuntimeError, match="a bug"):
        seen.extend(image.path for image in stream(map(str, itertools.count())))
    assert not decode_threads()


def test_an_error_of_the_path_list_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def paths() -> Iterator[str]:
        yield "0"
        raise OSError("the list is gone")

    monkeypatch.setattr(read_module, "read_image", lambda location, *_: row(location.path))
    with pytest.raises(OSError, match="the list is gone"):
        list(stream(paths()))
    assert not decode_threads()


@pytest.mark.parametrize(("threads", "ahead"), [(0, 4), (2, 0)])
def test_no_threads_or_no_room_ahead_is_refused_at_once(threads: int, ahead: int) -> None:
    with pytest.raises(SettingsError, match="at least 1"):
        stream([], threads, ahead)


def photo_bytes(width: int, height: int, orientation: int | None = None) -> bytes:
    """A JPEG whose left half is red and whose right half is blue, turned as its Exif says."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:, : width // 2, 0] = 255
    image[:, width // 2 :, 2] = 255
    buffer = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(image).save(buffer, "JPEG", quality=95, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((60, 40), 100, (40, 60)),
        ((60, 40), 60, (40, 60)),
        ((600, 400), 60, (40, 60)),
        ((400, 600), 60, (60, 40)),
        ((900, 3), 90, (1, 90)),
    ],
)
def test_a_photo_keeps_its_shape_and_is_no_longer_than_asked(
    size: tuple[int, int], longest: int, expected: tuple[int, int]
) -> None:
    pixels = decode_photo(photo_bytes(*size), longest, 10**6)
    assert (pixels.shape, pixels.dtype) == ((*expected, 3), np.uint8)
    left, right = pixels[:, : expected[1] // 3].mean(axis=(0, 1)), pixels[:, -(expected[1] // 3) :].mean(axis=(0, 1))
    assert left[0] > 200 > 60 > left[2]
    assert right[2] > 200 > 60 > right[0]


def test_a_photo_is_upright() -> None:
    turned = decode_photo(photo_bytes(60, 40, orientation=6), 100, 10**6)
    assert turned.shape == (60, 40, 3)
    assert turned[:20].mean(axis=(0, 1))[0] > 200, "what was left is above"
    assert turned[-20:].mean(axis=(0, 1))[2] > 200


@pytest.mark.parametrize(
    ("data", "most", "status"),
    [(b"", 10**6, "empty"), (b"no image", 10**6, "not-an-image"), (photo_bytes(60, 40), 2399, "oversized")],
    ids=["empty", "text", "large"],
)
def test_a_photo_is_refused_as_an_image_is(data: bytes, most: int, status: str) -> None:
    with pytest.raises(ImageError) as refused:
        decode_photo(data, 100, most)
    assert refused.value.status == status
