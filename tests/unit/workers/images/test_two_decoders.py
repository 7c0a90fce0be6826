"""Kinds of files that OpenCV and Pillow decode differently: the right one is used, and wrong pictures are refused."""

import io
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from shared.errors import ImageError
from shared.models.preprocessing import REDUCED, STRICT
from tests.support.images.strange import encoded
from workers.images.decode import decode_photo
from workers.images.header import FORMATS

ROOMY = 10**8
WIDTH, HEIGHT = 62, 48
GREY = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
COLOUR = np.dstack([GREY, GREY[:, ::-1], 255 - GREY // 2])


def rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, 2)


def packed(samples: NDArray[Any], bits: int) -> bytes:
    """Rows of samples of so many bits, each row padded to a byte."""
    rows = ("".join(format(value, f"0{bits}b") for value in row) for row in samples.tolist())
    padded = (row + "0" * (-len(row) % 8) for row in rows)
    return b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in padded)


def tiff(data: bytes, bits: int, photometric: int = 1, meaning: int = 1) -> bytes:
    tags = {256: WIDTH, 257: HEIGHT, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: HEIGHT,
            279: len(data), 339: meaning}  # fmt: skip
    data += bytes(len(data) % 2)
    fields = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + fields + bytes(4)


def old_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """A TIFF of the first kind of JPEG in it: a whole JPEG, whose place a tag of its own says."""
    jpeg = encoded(Image.fromarray(pixels), "JPEG", quality=95, subsampling=2)
    scan = jpeg.index(b"\xff\xda")
    scan += 2 + int.from_bytes(jpeg[scan + 2 : scan + 4], "big")
    start = 8 + len(jpeg) + len(jpeg) % 2
    shorts = {258: (3, start), 259: (1, 6), 262: (1, 6), 277: (1, 3), 512: (1, 1), 530: (2, 0x20002)}
    longs = {256: WIDTH, 257: HEIGHT, 273: 8 + scan, 278: HEIGHT, 279: len(jpeg) - scan, 513: 8, 514: len(jpeg)}
    tags = {tag: (3, *value) for tag, value in shorts.items()} | {tag: (4, 1, value) for tag, value in longs.items()}
    fields = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    head = b"II*\0" + struct.pack("<I", start + 6) + jpeg.ljust(start - 8, b"\0") + struct.pack("<3H", 8, 8, 8)
    return head + struct.pack("<H", len(tags)) + fields + bytes(4)


def bmp(rows: bytes, bits: int, compression: int, after: bytes) -> bytes:
    """`after` is between header and rows: a palette, or the masks of the colours."""
    colours = 2**bits if bits < 16 else 0
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, bits, compression, len(rows), 0, 0, colours, 0)
    start = 54 + len(after)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + after + rows


def greys(count: int) -> bytes:
    return bytes(value for n in range(count) for value in (*[n * 255 // (count - 1)] * 3, 0))


def runs(samples: NDArray[Any], bits: int, padded: bool) -> bytes:
    """Rows as runs of one sample each, to a multiple of four columns where they are `padded`."""
    rows = [list(row) + [0] * (-WIDTH % 4 if padded else 0) for row in samples[::-1].tolist()]
    code = (lambda value: bytes([1, value])) if bits == 8 else (lambda value: bytes([1, value << 4]))
    return b"".join(b"".join(map(code, row)) + b"\0\0" for row in rows) + b"\0\1"


FOUR = GREY >> 4
FIVE = (COLOUR[::-1] >> 3).astype("<u2")
RIGHT: dict[str, tuple[bytes, NDArray[np.uint8]]] = {
    "tiff of 12 bits": (tiff(packed(GREY.astype(np.uint16) * 16, 12), 12), rgb(GREY)),
    "tiff of 16 bits": (tiff((GREY.astype("<u2") * 257).tobytes(), 16), rgb(GREY)),
    "bmp of 16 bits": (bmp((FIVE[..., 0] << 10 | FIVE[..., 1] << 5 | FIVE[..., 2]).tobytes(), 16, 0, b""), COLOUR),
    "bmp of 24 bits": (encoded(Image.fromarray(COLOUR), "BMP"), COLOUR),
    "png": (encoded(Image.fromarray(COLOUR), "PNG"), COLOUR),
    "gif": (encoded(Image.fromarray(GREY), "GIF"), rgb(GREY)),
    "gif without trailer": (encoded(Image.fromarray(GREY), "GIF")[:-1], rgb(GREY)),
    "webp": (encoded(Image.fromarray(COLOUR), "WEBP", lossless=True), COLOUR),
    "jpeg 2000": (encoded(Image.fromarray(COLOUR), "JPEG2000"), COLOUR),
    "jpeg 2000 grey code stream": (encoded(Image.fromarray(GREY), "JPEG2000", no_jp2=True), rgb(GREY)),
}
for bits in (1, 2, 4):
    few = GREY >> (8 - bits)
    shown = (few * (255 // (2**bits - 1))).astype(np.uint8)
    RIGHT[f"tiff of {bits} bits"] = (tiff(packed(few, bits), bits), rgb(shown))
    RIGHT[f"tiff of {bits} bits, white 0"] = (tiff(packed(few, bits), bits, 0), rgb(255 - shown))
for name in ("zstd", "lzma", "tiff_lzw", "packbits"):
    RIGHT[f"tiff {name}"] = (encoded(Image.fromarray(COLOUR), "TIFF", compression=name), COLOUR)
    RIGHT[f"tiff {name} grey"] = (encoded(Image.fromarray(GREY), "TIFF", compression=name), rgb(GREY))
for padded in (True, False):
    RIGHT[f"bmp runs of 8 bits, padded {padded}"] = (bmp(runs(GREY, 8, padded), 8, 1, greys(256)), rgb(GREY))
    shown = (FOUR * 17).astype(np.uint8)
    RIGHT[f"bmp runs of 4 bits, padded {padded}"] = (bmp(runs(FOUR, 4, padded), 4, 2, greys(16)), rgb(shown))


@pytest.mark.parametrize("form", RIGHT)
def test_each_kind_of_file_is_decoded_by_a_decoder_that_gets_it_right(form: str) -> None:
    data, truth = RIGHT[form]
    away = np.abs(decode_photo(data, 1000, ROOMY).astype(int) - truth)
    # Five bits are stretched to eight by rule or by repeating them.
    assert away.mean() <= (2.5 if form == "bmp of 16 bits" else 0.05)


def test_a_tiff_of_the_older_jpeg_is_decoded_and_cut_short_truncated() -> None:
    data = old_jpeg(COLOUR)
    assert np.abs(decode_photo(data, 1000, ROOMY).astype(int) - COLOUR).mean() < 2.5
    with pytest.raises(ImageError) as caught:
        decode_photo(data[: len(data) // 2], 1000, ROOMY)
    assert caught.value.status == "truncated"


@pytest.mark.parametrize("form", [form for form in RIGHT if "padded True" not in form])
def test_what_both_decoders_open_they_agree_on(form: str) -> None:
    """Padded runs of eight bits are the difference: OpenCV skips every second row there, and Pillow is right."""
    data = RIGHT[form][0]
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if theirs is not None:
        away = np.abs(theirs[..., ::-1].astype(int) - decode_photo(data, 1000, ROOMY))
        assert away.mean() <= (4.5 if form == "bmp of 16 bits" else 0.05)


REFUSED = {
    "signed tiff of 8 bits": tiff(GREY.tobytes(), 8, meaning=2),
    "signed tiff of 16 bits": tiff((GREY.astype("<i2") - 128).tobytes(), 16, meaning=2),
    "tiff of 32 bits": tiff(GREY.astype("<u4").tobytes(), 32),
    "bmp of odd masks": bmp(bytes(4 * WIDTH * HEIGHT), 32, 3, struct.pack("<3I", 0x3FF << 20, 0x3FF << 10, 0x3FF)),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_has_no_defined_white_is_refused_and_never_black(form: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_photo(REFUSED[form], 1000, ROOMY)
    assert caught.value.status == "undecodable"


def test_an_animation_cut_after_its_first_frame_gives_that_frame_and_one_cut_within_it_is_truncated() -> None:
    rng = np.random.default_rng(8)
    frames = [Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)) for _ in range(2)]
    first = encoded(frames[0], "GIF")
    both = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    found = decode_photo(both[: len(first) + 300], 1000, ROOMY)
    np.testing.assert_array_equal(found, rgb(np.asarray(frames[0])))
    with pytest.raises(ImageError):
        decode_photo(both[: len(first) // 2], 1000, ROOMY)


def test_long_texts_do_not_hide_the_picture_of_a_png() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("w", "x" * 2_000_000, zip=True)
    for pixels in (COLOUR, np.dstack([COLOUR, np.full_like(GREY, 255)])):
        data = encoded(Image.fromarray(pixels), "PNG", pnginfo=info)
        np.testing.assert_array_equal(decode_photo(data, 1000, ROOMY), COLOUR)


def test_the_orientation_of_a_webp_is_applied_with_and_without_the_name_before_it() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(COLOUR), "WEBP", lossless=True, exif=exif)
    at = data.index(b"EXIF")
    body = data[at + 8 : at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")].removeprefix(b"Exif\0\0")
    for block in (body, b"Exif\0\0" + body):
        chunks = data[12:at] + b"EXIF" + struct.pack("<I", len(block)) + block + bytes(len(block) % 2)
        turned = decode_photo(b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks, 1000, ROOMY)
        np.testing.assert_array_equal(turned, np.rot90(COLOUR, -1))


@pytest.mark.skipif("AVIF" not in FORMATS, reason="this build of Pillow has no AVIF")
@pytest.mark.parametrize("range_", ["limited", "full"])
def test_a_grey_avif_goes_from_black_to_white(range_: str) -> None:
    data = encoded(Image.fromarray(GREY), "AVIF", range=range_, quality=95)
    assert np.abs(decode_photo(data, 1000, ROOMY).astype(int) - rgb(GREY)).mean() < 2
    assert Image.open(io.BytesIO(data)).size == (WIDTH, HEIGHT)


def pixels_first(data: bytes) -> bytes:
    """An AVIF whose pixels come first in its data, and what is said of them behind; libavif writes it before."""
    at = data.index(b"iloc") + 4  # Version 0: offsets and lengths of 4 bytes, and no bases.
    assert data[at : at + 6] == b"\0\0\0\0\x44\0"
    items = []
    for number in range(int.from_bytes(data[at + 6 : at + 8], "big")):
        place = at + 8 + 14 * number
        item, _, pieces, offset, length = struct.unpack(">3H2I", data[place : place + 14])
        assert pieces == 1
        items.append((item != 1, item, place, data[offset : offset + length]))
    start = data.index(b"mdat") + 4
    made = bytearray(data[:start])
    for _, _, place, body in sorted(items):
        made[place + 6 : place + 10] = struct.pack(">I", len(made))
        made += body
    assert len(made) == len(data)
    return bytes(made)


@pytest.mark.skipif("AVIF" not in FORMATS, reason="this build of Pillow has no AVIF")
@pytest.mark.parametrize("xmp", [b"", b"<x:xmpmeta/>" * 50])
@pytest.mark.parametrize("orientation", [None, 1, 6])
@pytest.mark.parametrize("how", [REDUCED, STRICT])
def test_what_is_said_behind_the_pixels_of_an_avif_changes_none_of_them(
    how: str, orientation: int | None, xmp: bytes
) -> None:
    exif = Image.Exif()
    exif[0x010E] = "made by a test"
    if orientation is not None:
        exif[0x0112] = orientation
    before = encoded(Image.fromarray(COLOUR), "AVIF", quality=95, exif=exif, xmp=xmp)
    behind = pixels_first(before)
    assert before.index(b"made by a test") < before.index(b"mdat") + 100 < behind.index(b"made by a test")
    shown = decode_photo(behind, 1000, ROOMY, how)
    np.testing.assert_array_equal(shown, decode_photo(before, 1000, ROOMY, how))
    truth = np.rot90(COLOUR, -1) if orientation == 6 else COLOUR
    assert np.abs(shown.astype(int) - truth).mean() < 4
    # What is there is a part of the file as any other: without it the file is not whole.
    with pytest.raises(ImageError) as caught:
        decode_photo(behind[:-20], 1000, ROOMY, how)
    assert caught.value.status == "truncated"
