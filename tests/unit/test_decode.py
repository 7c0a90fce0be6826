"""Every kind of image file becomes RGB pixels or a failure with its reason, in order and in bounded memory."""

import hashlib
import io
import itertools
import os
import threading
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
from PIL import Image, ImageDraw, ImageOps

from shared.errors import ImageError, SettingsError
from shared.paths import to_text
from workers import decode as room
from workers.decode import FORMATS, ReadImage, decode, read_image, stream_images

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


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("width", [64, 512])
def test_the_exif_orientation_is_applied_also_to_a_reduced_jpeg(orientation: int, width: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(quadrants(width, width), "JPEG", exif=exif, quality=95)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB").resize((SIZE, SIZE))
    found = corners(decode(data, SIZE, ROOMY).pixels)
    np.testing.assert_allclose(found.astype(int), corners(np.asarray(upright)), atol=12)


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


def read(path: Path | str, max_bytes: int = ROOMY) -> ReadImage:
    return read_image(str(path), SIZE, ROOMY, max_bytes)


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
    [(make_fifo, "unreadable"), (make_folder, "unreadable"), (make_loop, "unreadable"), (make_nothing, "vanished")],
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
    return stream_images(paths, image_size=SIZE, max_pixels=ROOMY, max_bytes=ROOMY, threads=threads, ahead=ahead)


def decode_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_images_come_in_the_order_of_their_paths_whoever_is_done_first(monkeypatch: pytest.MonkeyPatch) -> None:
    second_is_done = threading.Event()

    def slow_first(path: str, *_: Any) -> ReadImage:
        if path == "0":
            assert second_is_done.wait(30)
        if path == "1":
            second_is_done.set()
        return row(path)

    monkeypatch.setattr(room, "read_image", slow_first)
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

    monkeypatch.setattr(room, "read_image", lambda path, *_: row(path))
    images = stream(paths(), threads=3, ahead=ahead)
    assert pulled == 0
    for given_out in range(1, 50):
        next(images)
        assert pulled == given_out + ahead
    images.close()


def test_closing_early_ends_the_threads_and_drops_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    go_on = threading.Event()

    def held(path: str, *_: Any) -> ReadImage:
        begun.append(path)
        if path != "0":
            assert go_on.wait(30)
        return row(path)

    monkeypatch.setattr(room, "read_image", held)
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
    def fails_at_three(path: str, *_: Any) -> ReadImage:
        if path == "3":
            raise RuntimeError("a bug")
        return row(path)

    monkeypatch.setattr(room, "read_image", fails_at_three)
    seen = []
    with pytest.raises(RuntimeError, match="a bug"):
        seen.extend(image.path for image in stream(map(str, itertools.count())))
    assert not decode_threads()


def test_an_error_of_the_path_list_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def paths() -> Iterator[str]:
        yield "0"
        raise OSError("the list is gone")

    monkeypatch.setattr(room, "read_image", lambda path, *_: row(path))
    with pytest.raises(OSError, match="the list is gone"):
        list(stream(paths()))
    assert not decode_threads()


@pytest.mark.parametrize(("threads", "ahead"), [(0, 4), (2, 0)])
def test_no_threads_or_no_room_ahead_is_refused_at_once(threads: int, ahead: int) -> None:
    with pytest.raises(SettingsError, match="at least 1"):
        stream([], threads, ahead)
