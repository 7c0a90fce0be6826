"""PSD, PCX, QOI, TGA, DDS and icons: the right pixels on white, and a reason for what is cut, too large or unusual."""

import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from coordinator.sources.choosing import IMAGE_SUFFIXES
from shared.errors import ImageError
from shared.models.preprocessing import REDUCED, REDUCED_OPAQUE
from tests.support.images.strange import encoded, patched
from workers.images.decode import checked_header, decode_photo
from workers.images.formats.icons import icon_suffix

ROOMY = 10**8
WIDTH, HEIGHT = 62, 48
GREY = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
COLOUR = np.dstack([GREY, GREY[:, ::-1], 255 - GREY // 2])
ALPHA = np.where(np.arange(HEIGHT)[:, None] < HEIGHT // 2, 255, 0).astype(np.uint8).repeat(WIDTH, 1)
ON_WHITE = np.where(ALPHA[..., None] == 255, COLOUR, 255).astype(np.uint8)
FEW = (GREY >> 4).astype(np.uint8)
PALETTE = np.random.default_rng(5).integers(0, 256, (256, 3), dtype=np.uint8)


def rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, 2)


def indexed() -> Image.Image:
    image = Image.fromarray(GREY).convert("P")
    image.putdata(GREY.ravel().tolist())
    image.putpalette(PALETTE.tobytes())
    return image


def packbits(row: bytes) -> bytes:
    """A row as runs of one byte each, no shorter than it was."""
    return b"".join(bytes([0, value]) for value in row)


def psd(
    planes: list[NDArray[np.uint8]], mode: int, *, runs: bool = False, palette: bytes = b"", resources: bytes = b"",
    bits: int = 8, version: int = 1,
) -> bytes:  # fmt: skip
    """A Photoshop document without layers, by its maker's description of the format."""
    height, width = planes[0].shape
    head = struct.pack(">4sH6xHIIHH", b"8BPS", version, len(planes), height, width, bits, mode)
    head += b"".join(struct.pack(">I", len(part)) + part for part in (palette, resources, b""))
    rows = [row.tobytes() for plane in planes for row in plane]
    if runs:
        rows = [packbits(row) for row in rows]
        return head + b"\0\1" + struct.pack(f">{len(rows)}H", *map(len, rows)) + b"".join(rows)
    return head + b"\0\0" + b"".join(rows)


def resource(number: int, body: bytes) -> bytes:
    return b"8BIM" + struct.pack(">H2xI", number, len(body)) + body + bytes(len(body) % 2)


def channels(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [np.ascontiguousarray(pixels[..., number]) for number in range(pixels.shape[2])]


def ico(*pictures: tuple[int, int, bytes]) -> bytes:
    """An icon of (side, bits, bytes) each."""
    at, entries = 6 + 16 * len(pictures), b""
    for side, bits, data in pictures:
        entries += struct.pack("<BBBxHHII", side % 256, side % 256, 0, 1, bits, len(data), at)
        at += len(data)
    return b"\0\0\1\0" + struct.pack("<H", len(pictures)) + entries + b"".join(data for _, _, data in pictures)


def bitmap(pixels: NDArray[np.uint8], hidden: NDArray[np.bool_]) -> bytes:
    """A bitmap of an icon: BGRA, whose mask says what is not seen."""
    height, width = pixels.shape[:2]
    bits = np.packbits(hidden[::-1], axis=1)
    mask = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 4))).tobytes()
    head = struct.pack("<IiiHHIIiiII", 40, width, 2 * height, 1, 32, 0, 0, 0, 0, 0, 0)
    return head + pixels[::-1, :, [2, 1, 0, 3]].tobytes() + mask


def icns(*parts: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack(">I", 8 + len(data)) + data for name, data in parts)
    return b"icns" + struct.pack(">I", 8 + len(body)) + body


def square(side: int, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.full((side, side, 3), colour, np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    return encoded(Image.fromarray(pixels), "PNG")


RGBA = np.dstack([COLOUR, ALPHA])
LOW = Image.fromarray(COLOUR)
BITMAP = np.dstack([COLOUR[:48, :48], np.zeros((48, 48), np.uint8)])
HALF = np.arange(48)[:, None].repeat(48, 1) >= 24
RIGHT: dict[str, tuple[bytes, NDArray[np.uint8]]] = {
    "psd rgb": (psd(channels(COLOUR), 3), COLOUR),
    "psd runs": (psd(channels(COLOUR), 3, runs=True), COLOUR),
    "psd grey": (psd([GREY], 1), rgb(GREY)),
    "psd duotone": (psd([GREY], 8, palette=bytes(20)), rgb(GREY)),
    "psd indexed": (psd([GREY], 2, palette=PALETTE.T.tobytes()), PALETTE[GREY]),
    # A fourth channel is a selection, or what was put on white already.
    "psd of four channels": (psd(channels(RGBA), 3), COLOUR),
    "psd of five channels in runs": (psd([*channels(RGBA), GREY], 3, runs=True), COLOUR),
    "psd cmyk": (psd([*channels(COLOUR), np.full_like(GREY, 255)], 4), COLOUR),
    "psd with resources": (
        psd([GREY], 1, resources=resource(1005, bytes(16)) + resource(1057, bytes(4) + b"\1" + bytes(8))), rgb(GREY)
    ),
    "pcx rgb": (encoded(LOW, "PCX"), COLOUR),
    "pcx grey": (encoded(Image.fromarray(GREY), "PCX"), rgb(GREY)),
    "pcx indexed": (encoded(indexed(), "PCX"), PALETTE[GREY]),
    "pcx of 1 bit": (encoded(Image.fromarray(GREY > 99), "PCX"), rgb(np.where(GREY > 99, 255, 0).astype(np.uint8))),
    "qoi": (encoded(LOW, "QOI"), COLOUR),
    "qoi with alpha": (encoded(Image.fromarray(RGBA), "QOI"), ON_WHITE),
    "tga": (encoded(LOW, "TGA"), COLOUR),
    "tga runs": (encoded(LOW, "TGA", compression="tga_rle"), COLOUR),
    "tga grey": (encoded(Image.fromarray(GREY), "TGA"), rgb(GREY)),
    "tga indexed": (encoded(indexed(), "TGA"), PALETTE[GREY]),
    "tga with alpha": (encoded(Image.fromarray(RGBA), "TGA"), ON_WHITE),
    "tga upside down": (encoded(LOW, "TGA", orientation=1), COLOUR),
    "dds": (encoded(LOW, "DDS"), COLOUR),
    "dds with alpha": (encoded(Image.fromarray(RGBA), "DDS"), ON_WHITE),
    "dds grey": (encoded(Image.fromarray(GREY), "DDS"), rgb(GREY)),
    "ico of pngs": (
        ico((16, 32, png(square(16, (9, 9, 9)))), (0, 32, png(COLOUR)), (32, 32, png(square(32, (8, 8, 8))))), COLOUR
    ),
    "ico of a bitmap": (ico((48, 32, bitmap(np.dstack([COLOUR[:, :48], ALPHA[:, :48]]), HALF))), ON_WHITE[:, :48]),
    "ico of a bitmap with a mask alone": (ico((48, 0, bitmap(BITMAP, HALF))), ON_WHITE[:, :48]),
    "ico by pillow": (
        encoded(Image.fromarray(COLOUR[:, :48]), "ICO", sizes=[(48, 48)], bitmap_format="bmp"), COLOUR[:, :48]
    ),
    "icns of pngs": (
        icns((b"icp4", png(square(16, (9, 9, 9)))), (b"ic07", png(COLOUR)), (b"icp5", png(square(32, (8, 8, 8))))),
        COLOUR,
    ),
    "icns of plain pixels": (
        icns((b"ih32", COLOUR[:, :48].tobytes()), (b"h8mk", ALPHA[:, :48].tobytes()), (b"ICN#", bytes(256))),
        ON_WHITE[:, :48],
    ),
    "icns without alpha": (icns((b"ih32", COLOUR[:, :48].tobytes())), COLOUR[:, :48]),
}  # fmt: skip
# A fully opaque TGA of 32 bits whose header says that none of them are alpha, as old games have it.
_bare = bytearray(encoded(Image.fromarray(np.dstack([COLOUR, np.zeros_like(GREY)])), "TGA"))
_bare[17] &= 0xF0
RIGHT["tga of 32 bits without alpha"] = (bytes(_bare), COLOUR)


def tried(data: bytes) -> NDArray[np.uint8] | ImageError:
    try:
        return decode_photo(data, 1000, 10**6)
    except ImageError as error:
        return error


@pytest.mark.parametrize("how", [REDUCED, REDUCED_OPAQUE])
@pytest.mark.parametrize("form", RIGHT)
def test_each_of_these_formats_gives_its_pixels_on_white_in_every_job(form: str, how: str) -> None:
    data, truth = RIGHT[form]
    np.testing.assert_array_equal(decode_photo(data, 1000, ROOMY, how), truth)


@pytest.mark.parametrize("name", ["DXT1", "DXT3", "DXT5", "BC2", "BC3"])
def test_a_compressed_dds_is_near_to_what_it_was_made_of(name: str) -> None:
    data = encoded(Image.fromarray(RGBA), "DDS", pixel_format=name)
    away = np.abs(decode_photo(data, 1000, ROOMY).astype(int) - ON_WHITE)
    assert away.mean() < 4


@pytest.mark.parametrize("form", [form for form in RIGHT if not form.startswith("tga")])
def test_what_is_cut_of_these_formats_is_truncated_or_gives_the_pixels_of_the_whole(form: str) -> None:
    """A TGA that is cut has lost what told that it is one."""
    data, truth = RIGHT[form]
    for length in (*range(16, min(len(data), 200), 7), *range(200, len(data), 211), *range(len(data) - 9, len(data))):
        found = tried(data[:length])
        if isinstance(found, ImageError):
            assert (length, found.status) == (length, "truncated"), str(found)
        else:
            np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("form", [form for form in RIGHT if not form.startswith(("ico", "icns"))])
def test_too_many_pixels_of_these_formats_are_refused_before_they_are_decoded(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.images.decode.pillow_pixels", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=f"{WIDTH} x {HEIGHT}") as caught:
        decode_photo(RIGHT[form][0], 1000, WIDTH * HEIGHT - 1)
    assert caught.value.status == "oversized"


@pytest.mark.parametrize(
    "data",
    [
        patched(RIGHT["psd rgb"][0], b"8BPS", 14, ">II", 9_000, 9_000),
        patched(RIGHT["psd runs"][0], b"8BPS", 14, ">II", 9_000, 9_000),
        patched(RIGHT["pcx rgb"][0], b"\n\5\1", 8, "<HH", 9_000, 9_000),
        patched(RIGHT["qoi"][0], b"qoif", 4, ">II", 4_000, 4_000),
        patched(RIGHT["tga"][0], b"", 12, "<HH", 9_000, 9_000),
        patched(RIGHT["tga runs"][0], b"", 12, "<HH", 9_000, 9_000),
        patched(RIGHT["dds"][0], b"DDS ", 12, "<II", 4_000, 4_000),
        patched(encoded(LOW, "DDS", pixel_format="DXT1"), b"DDS ", 12, "<II", 9_000, 9_000),
    ],
)
def test_more_pixels_than_the_file_can_hold_are_refused_before_they_are_decoded(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.images.decode.pillow_pixels", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageError) as caught:
        decode_photo(data, 1000, ROOMY)
    assert caught.value.status == "truncated"


@pytest.mark.parametrize("kind", ["qoi", "dds"])
def test_what_pillow_reads_a_pixel_at_a_time_has_a_limit_of_its_own(kind: str) -> None:
    marker, offset, layout = {"qoi": (b"qoif", 4, ">II"), "dds": (b"DDS ", 12, "<II")}[kind]
    with pytest.raises(ImageError, match="at most 16,777,216") as caught:
        decode_photo(patched(RIGHT[kind][0], marker, offset, layout, 5_000, 4_000), 1000, ROOMY)
    assert caught.value.status == "oversized"


def test_a_png_in_an_icon_is_held_to_the_same_limits_as_one_alone() -> None:
    large = png(square(300, (1, 2, 3)))
    for data in (ico((0, 32, large)), icns((b"ic08", large))):
        assert checked_header(data, ROOMY)[:3] == (300, 300, "PNG")
        with pytest.raises(ImageError, match="300 x 300") as caught:
            decode_photo(data, 1000, 300 * 300 - 1)
        assert caught.value.status == "oversized"
    lies = patched(large, b"IHDR", 4, ">II", 9_000, 9_000)
    for data in (ico((0, 32, lies)), icns((b"ic08", lies))):
        with pytest.raises(ImageError):
            decode_photo(data, 1000, ROOMY)


def test_of_pictures_as_large_the_one_of_most_bits_is_taken() -> None:
    data = ico((32, 4, png(square(32, (8, 8, 8)))), (32, 32, png(square(32, (1, 2, 3)))))
    np.testing.assert_array_equal(decode_photo(data, 1000, ROOMY), square(32, (1, 2, 3)))


def test_an_icon_without_a_name_gets_its_suffix() -> None:
    assert [icon_suffix(RIGHT[form][0]) for form in ("ico of pngs", "icns of pngs", "qoi")] == [".ico", ".icns", ""]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (psd([GREY], 0), "Bitmap"),
        (psd([GREY, GREY, GREY], 7), "Multichannel"),
        (psd(channels(COLOUR), 9), "Lab"),
        (psd(channels(COLOUR), 3, bits=16), "16 bits"),
        (psd([GREY], 3), "Photoshop"),
        (psd([GREY], 1, version=2), "PSB"),
        (psd([GREY], 1, resources=resource(1057, bytes(5))), "Maximize Compatibility"),
        (patched(RIGHT["pcx rgb"][0], b"\n\5\1", 3, "<B", 4), "PCX of version 5"),
        (patched(encoded(LOW, "DDS", pixel_format="DXT1"), b"DXT1", 0, "<4B", *b"DXT2"), "compressed in a way"),
        (ico((48, 32, b"")), "header of its largest picture"),
        (b"\0\0\1\0\0\0" + bytes(40), "0 pictures"),
        (icns((b"ICN#", bytes(256))), "no picture of a kind"),
    ],
)
def test_what_is_unusual_in_these_formats_is_refused_with_its_name(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        decode_photo(data, 1000, ROOMY)
    assert caught.value.status in ("undecodable", "truncated")


def test_no_text_or_noise_is_taken_for_one_of_these_formats() -> None:
    rng = np.random.default_rng(3)
    for data in (b"\n\5 text\n" * 50, bytes(500), b"\0\0\2" + bytes(500), rng.bytes(5_000), b"\n\n\1" + bytes(200)):
        with pytest.raises(ImageError) as caught:
            decode_photo(data, 1000, ROOMY)
        assert caught.value.status == "not-an-image"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("form", RIGHT)
def test_no_damage_of_these_formats_raises_anything_but_an_image_error(form: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(RIGHT[form][0])
    for at in rng.integers(0, min(len(data), 400), 4):
        data[at] = rng.integers(0, 256)
    found = tried(bytes(data))
    assert str(found) if isinstance(found, ImageError) else found.ndim == 3


def test_a_folder_lists_the_suffixes_of_these_formats() -> None:
    assert {".psd", ".tga", ".dds", ".pcx", ".qoi", ".ico", ".icns"} <= IMAGE_SUFFIXES
