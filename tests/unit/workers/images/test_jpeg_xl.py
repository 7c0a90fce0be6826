"""JPEG XL: right pixels on white in every kind, claims held to the limits first, and a sentence without the extra."""

import struct
import sys
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from coordinator.sources.choosing import IMAGE_SUFFIXES
from shared.errors import ImageError
from shared.images.kinds import HEAD_BYTES, is_image
from shared.models.preprocessing import REDUCED, REDUCED_OPAQUE, STRICT
from tests.support.images.strange import encoded
from workers.images.decode import decode, decode_photo
from workers.images.structure.jxl import JxlHeader, jxl_header

ROOMY = 10**6
WIDTH, HEIGHT = 62, 48
GREY = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
GREY[0, 0] = 200
COLOUR = np.dstack([GREY, GREY[:, ::-1], 255 - GREY // 2])
ALPHA = np.repeat(np.linspace(0, 255, HEIGHT).astype(np.uint8)[:, None], WIDTH, 1)


def jxl(samples: NDArray[Any], **options: Any) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(samples, lossless=True, **options))


def rgb(grey: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(grey[..., None], 3, 2)


def on_white(colours: NDArray[Any]) -> NDArray[Any]:
    alpha = ALPHA[..., None] / 255
    return colours * alpha + 255 * (1 - alpha)


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def in_boxes(stream: bytes, *parts: int) -> bytes:
    """A code stream in a box, or in several that end at `parts`, with EXIF behind it that would turn it."""
    head = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    exif = Image.Exif()
    exif[0x0112] = 6
    behind = box(b"Exif", bytes(4) + exif.tobytes().removeprefix(b"Exif\0\0"))
    if not parts:
        return head + box(b"jxlc", stream) + behind
    ends = [0, *parts, len(stream)]
    pieces = [stream[ends[n] : ends[n + 1]] for n in range(len(ends) - 1)]
    last = len(pieces) - 1
    numbered = [struct.pack(">I", n | (0x80000000 if n == last else 0)) + piece for n, piece in enumerate(pieces)]
    return head + b"".join(box(b"jxlp", piece) for piece in numbered) + behind


FOUR = (GREY >> 4).astype(np.uint8)
RIGHT: dict[str, tuple[bytes, NDArray[Any]]] = {
    "grey": (jxl(GREY), rgb(GREY)),
    "colour": (jxl(COLOUR), COLOUR),
    "grey with alpha": (jxl(np.dstack([GREY, ALPHA])), on_white(rgb(GREY))),
    "colour with alpha": (jxl(np.dstack([COLOUR, ALPHA])), on_white(COLOUR)),
    "16 bits": (jxl(COLOUR.astype(np.uint16) * 256 + 77), COLOUR),
    "16 bits with alpha": (jxl(np.dstack([COLOUR, ALPHA]).astype(np.uint16) * 257), on_white(COLOUR)),
    "12 bits": (jxl(COLOUR.astype(np.uint16) * 16 + 5, bitspersample=12), COLOUR),
    "10 bits grey": (jxl(GREY.astype(np.uint16) * 4, bitspersample=10), rgb(GREY)),
    "4 bits": (jxl(FOUR, bitspersample=4), rgb(FOUR * 17)),
    "floats": (jxl((COLOUR / 255).astype(np.float32)), COLOUR),
    "floats with alpha": (jxl((np.dstack([COLOUR, ALPHA]) / 255).astype(np.float32)), on_white(COLOUR)),
    "animation": (jxl(np.stack([COLOUR, COLOUR[::-1]]), photometric="rgb"), COLOUR),
    "boxes": (in_boxes(jxl(COLOUR)), COLOUR),
    "two boxes": (in_boxes(jxl(COLOUR), 20), COLOUR),
    "many boxes": (in_boxes(jxl(COLOUR), 3, 4, 9), COLOUR),
    "a JPEG": (bytes(imagecodecs.jpegxl_encode_jpeg(encoded(Image.fromarray(COLOUR), "JPEG", quality=95))), COLOUR),
    "lossy": (bytes(imagecodecs.jpegxl_encode(COLOUR, level=95)), COLOUR),
}


def away(form: str) -> float:
    return 12 if form in ("a JPEG", "lossy") else 0


@pytest.mark.parametrize("how", [REDUCED, STRICT, REDUCED_OPAQUE])
@pytest.mark.parametrize("form", RIGHT)
def test_a_jpeg_xl_gives_its_pixels_on_white_in_every_job(form: str, how: str) -> None:
    data, truth = RIGHT[form]
    shown = decode_photo(data, 1000, ROOMY, how).astype(float)
    if away(form):
        assert np.abs(shown - truth).mean() < away(form)
    else:
        assert np.abs(shown - truth).max() <= 1 if "alpha" in form else np.array_equal(shown, truth)
    image = decode(data, 8, ROOMY, how)
    assert (image.width, image.height) == (WIDTH, HEIGHT)
    assert is_image(data[:HEAD_BYTES])


@pytest.mark.parametrize("width", [1, 8, 31, 256, 300, 511, 512, 513, 9_000])
@pytest.mark.parametrize("height", [1, 8, 32, 250])
def test_the_size_of_a_jpeg_xl_is_read_from_its_bits_as_the_decoder_reads_it(width: int, height: int) -> None:
    for data in (
        jxl(np.full((height, width), 7, np.uint8), effort=1),
        jxl(np.full((height, width, 4), 7, np.uint16), effort=1),
    ):
        header = jxl_header(data)
        assert (header.width, header.height) == (width, height)


def test_what_a_jpeg_xl_holds_is_read_from_its_bits() -> None:
    def kind(form: str) -> tuple[int, bool, bool, str]:
        header = jxl_header(RIGHT[form][0])
        return header.bits, header.floats, header.alpha, header.strange

    assert kind("grey") == (8, False, False, "")
    assert kind("12 bits") == (12, False, False, "")
    assert kind("4 bits") == (4, False, False, "")
    assert kind("16 bits with alpha") == (16, False, True, "")
    assert kind("floats with alpha") == (32, True, True, "")
    assert kind("animation") == (8, False, False, "")


def outcome(data: bytes) -> tuple[str, NDArray[np.uint8] | None]:
    """How decoding ends, and the pixels."""
    try:
        return "ok", decode(data, 8, ROOMY).pixels
    except ImageError as error:
        return error.status, None


@pytest.mark.parametrize("form", RIGHT)
def test_a_jpeg_xl_that_is_cut_anywhere_is_truncated_or_gives_the_pixels_of_the_whole(form: str) -> None:
    data = RIGHT[form][0]
    whole = decode(data, 8, ROOMY).pixels
    for end in [*range(12, min(len(data), 60)), *range(60, len(data), max(1, len(data) // 40))]:
        status, found = outcome(data[:end])
        # Its first picture may be whole before the end, and all boxes but the last.
        assert status == "truncated" or (status == "ok" and (form == "animation" or "box" in form)), end
        assert found is None or np.array_equal(found, whole)


@pytest.mark.parametrize("part", [0.4, 0.6, 0.9])
@pytest.mark.parametrize("boxed", [True, False])
def test_a_jpeg_xl_whose_end_was_never_written_is_truncated(boxed: bool, part: float) -> None:
    stream = jxl(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    data = in_boxes(stream) if boxed else stream
    begun = data[: int(len(data) * part)]
    with pytest.raises(ImageError) as refused:
        decode(begun + bytes(len(data) - len(begun)), 8, ROOMY)
    assert refused.value.status == "truncated"


@pytest.mark.parametrize("form", RIGHT)
def test_a_jpeg_xl_of_too_many_pixels_is_refused_before_it_is_decoded(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImageError, match=r"at most 2,975 are decoded") as refused:
        decode(RIGHT[form][0], 8, WIDTH * HEIGHT - 1)
    assert refused.value.status == "oversized"


class Bits:
    """Bits of a code stream, the lowest of each byte first."""

    def __init__(self) -> None:
        self._bits = ""

    def put(self, *numbers: tuple[int, int]) -> "Bits":
        """Add numbers, each with how many bits it takes."""
        for number, count in numbers:
            self._bits += format(number, f"0{count}b")[::-1] if count else ""
        return self

    def stream(self) -> bytes:
        padded = self._bits + "0" * (-len(self._bits) % 8)
        return b"\xff\x0a" + bytes(int(padded[at : at + 8][::-1], 2) for at in range(0, len(padded), 8)) + bytes(40)


SMALL = ((1, 1), (0, 5), (1, 3))  # 8 x 8, in eighths and square.
EXTRAS = ((0, 1), (0, 1), (0, 1), (0, 2), (1, 1))  # Not the plainest; no fields more; 8 bits of whole numbers.


def test_a_claim_of_a_jpeg_xl_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    refused = {
        Bits().put((0, 1), (3, 2), (2**30 - 1, 30), (1, 3)).stream(): ("oversized", "1073741824 x 1073741824"),
        Bits().put((0, 1), (3, 2), (9, 30), (0, 3), (3, 2), (2**30 - 1, 30)).stream(): ("oversized", "x 10"),
        Bits().put(*SMALL, *EXTRAS, (3, 2), (4_095, 12)).stream(): ("undecodable", "4,096 channels beside"),
        Bits().put(*SMALL, *EXTRAS, (1, 2), (0, 1), (1, 2)).stream(): ("undecodable", "depth beside its colours"),
        Bits().put(*SMALL, *EXTRAS, (1, 2), (0, 1), (2, 2), (2, 4)).stream(): ("undecodable", "black ink beside"),
        Bits().put(*SMALL, *EXTRAS, (1, 2), (0, 1), (0, 2), (0, 1), (0, 2), (0, 2), (0, 2), (1, 1)).stream(): (
            "undecodable",
            "multiplied by their alpha",
        ),
    }
    for data, (status, words) in refused.items():
        for form in (data, in_boxes(data), in_boxes(data, 2, 3, 5)):
            with pytest.raises(ImageError, match=words) as caught:
                decode(form, 8, ROOMY)
            assert caught.value.status == status


def test_a_preview_and_an_animation_before_the_depth_are_passed_over() -> None:
    fields = ((0, 1), (1, 1), (5, 3), (1, 1), *SMALL, (1, 1), (0, 1), (1, 2), (9, 8), (1, 3), (1, 1))
    timing = ((3, 2), (7, 30), (2, 2), (9, 8), (1, 2), (3, 3), (0, 1))
    data = Bits().put(*SMALL, *fields, *timing, (0, 1), (2, 2), (1, 1), (1, 2), (1, 1)).stream()
    assert jxl_header(data) == JxlHeader(8, 8, 12, False, True, "")


@pytest.mark.parametrize("boxed", [True, False])
def test_without_imagecodecs_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, boxed: bool) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImageError, match=r"JPEG XL image.*imagecodecs.*pip install 'lookalike\[formats\]'") as caught:
        decode(RIGHT["boxes" if boxed else "colour"][0], 8, ROOMY)
    assert caught.value.status == "undecodable"


def test_floats_of_a_jpeg_xl_have_the_range_of_all_floats() -> None:
    with pytest.raises(ImageError, match=r"JPEG XL data of 62 x 48 pixels holds floats from 0 to 255;"):
        decode(jxl(COLOUR.astype(np.float32)), 8, ROOMY)


def test_a_folder_lists_jpeg_xl() -> None:
    assert ".jxl" in IMAGE_SUFFIXES


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", RIGHT)
def test_no_damage_of_a_jpeg_xl_raises_anything_but_an_image_error(form: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(15):
        damaged = bytearray(RIGHT[form][0])
        for at in rng.integers(0, len(damaged), rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        try:
            decode(bytes(damaged), 8, ROOMY)
        except ImageError:
            continue
