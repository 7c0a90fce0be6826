"""Camera RAW: the preview that the camera made, else the samples developed; claims first, and a sentence without rawpy.

The files are DNGs made here, tag by tag: a grid of samples behind red, green and blue filters, with a preview or none.
"""

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.fuzz.raw import COLOURS, HEIGHT, LARGE, SMALL, WIDTH, dng, quarters
from coordinator.sources import resolve
from coordinator.sources.choosing import IMAGE_SUFFIXES, PICTURE_SUFFIXES, RAW_SUFFIXES
from coordinator.sources.resolve import open_source
from shared.errors import ImageError
from shared.images.kinds import HEAD_BYTES, is_image
from shared.models.preprocessing import REDUCED, REDUCED_OPAQUE, STRICT
from tests.support.images.forms import write_tar
from tests.support.images.strange import encoded
from workers.images.decode import checked_header, decode, decode_photo
from workers.images.structure.raw import is_raw

ROOMY = 10**7


def jpeg(size: tuple[int, int], turned: np.ndarray[Any, Any] | None = None, **options: Any) -> bytes:
    return encoded(Image.fromarray(quarters(size) if turned is None else turned), "JPEG", quality=95, **options)


def corners(pixels: np.ndarray[Any, Any]) -> list[str]:
    """The name of the colour in each quarter, in reading order."""
    height, width = pixels.shape[:2]
    found = []
    for down in (height // 4, 3 * height // 4):
        for across in (width // 4, 3 * width // 4):
            pixel = pixels[down, across].astype(int)
            light = pixel.max() - pixel.min() < 60
            found.append("white" if light else ("red", "green", "blue")[int(pixel.argmax())])
    return found


UPRIGHT = list(COLOURS)
TURNED = ["blue", "red", "white", "green"]  # By a quarter, clockwise.
LETTER_BOXED = np.rot90(quarters(LARGE), -1)
EXIF = Image.Exif()
EXIF[0x0112] = 6
# The file, the size of what is shown, and the colours of its quarters.
RIGHT: dict[str, tuple[bytes, tuple[int, int], list[str]]] = {
    "no preview": (dng(), (160, 120), UPRIGHT),
    "no preview, turned": (dng(orientation=6), (120, 160), TURNED),
    "a thumbnail": (dng(jpeg(SMALL)), (160, 120), UPRIGHT),
    "a preview": (dng(jpeg(LARGE)), LARGE, UPRIGHT),
    "a preview to be turned": (dng(jpeg(LARGE), 6), LARGE[::-1], TURNED),
    "a preview upside down": (dng(jpeg(LARGE), 3), LARGE, UPRIGHT[::-1]),
    "a preview that says so itself": (dng(jpeg(LARGE, exif=EXIF), 6), LARGE[::-1], TURNED),
    "a preview that is turned": (dng(jpeg(LARGE, LETTER_BOXED), 6), LARGE[::-1], TURNED),
    "a damaged preview": (dng(jpeg(LARGE)[:900]), (160, 120), UPRIGHT),
}


@pytest.mark.parametrize("how", [REDUCED, STRICT])
@pytest.mark.parametrize("form", RIGHT)
def test_a_raw_shows_the_preview_of_the_camera_or_is_developed_upright(form: str, how: str) -> None:
    data, (width, height), colours = RIGHT[form]
    assert is_raw(data)
    assert is_image(data[:HEAD_BYTES])
    shown = decode_photo(data, 1000, ROOMY, how)
    assert shown.shape == (height, width, 3)
    assert corners(shown) == colours
    image = decode(data, 32, ROOMY, how)
    assert (image.width, image.height) == (WIDTH, HEIGHT)
    assert corners(image.pixels) == colours
    assert checked_header(data, ROOMY)[:3] == (WIDTH, HEIGHT, "RAW")
    assert max(decode_photo(data, 50, ROOMY, how).shape) == 50


def test_a_preview_gives_its_own_pixels() -> None:
    shown = decode_photo(dng(jpeg(LARGE)), 1000, ROOMY).astype(int)
    assert np.abs(shown - quarters(LARGE)).mean() < 2


def test_an_ordinary_tiff_is_no_raw() -> None:
    for options in ({}, {"compression": "jpeg"}, {"save_all": True, "append_images": [Image.new("RGB", (9, 9))]}):
        assert not is_raw(encoded(Image.fromarray(quarters(SMALL)), "TIFF", **options))


@pytest.mark.parametrize("form", ["no preview", "a preview"])
def test_a_raw_that_is_cut_anywhere_is_truncated(form: str) -> None:
    data = RIGHT[form][0]
    for end in range(12, len(data), max(1, len(data) // 40)):
        with pytest.raises(ImageError) as refused:
            decode(data[:end], 8, ROOMY)
        assert refused.value.status == "truncated", end


def test_samples_of_a_camera_whose_tables_lie_before_them_are_truncated_where_they_end() -> None:
    data = dng(jpeg(LARGE), claims={273: 1 << 20})
    with pytest.raises(ImageError, match=r"153,600 bytes of its samples are to lie at byte 1,048,576") as refused:
        decode(data, 8, ROOMY)
    assert refused.value.status == "truncated"
    for head in (b"FUJIFILMCCD-RAW".ljust(84, b"\0") + struct.pack(">II", 160, 10**6), b"FUJIFILMCCD-RAW 0201"):
        with pytest.raises(ImageError) as refused:
            decode(head, 8, ROOMY)
        assert refused.value.status == "truncated"
    with pytest.raises(ImageError) as refused:
        decode(struct.pack(">I", 24) + b"ftypcrx " + bytes(12) + struct.pack(">I", 10**6) + b"mdat", 8, ROOMY)
    assert refused.value.status == "truncated"


@pytest.mark.parametrize("preview", [None, jpeg(LARGE)])
def test_a_claim_of_a_raw_is_refused_before_it_is_read(preview: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for claims in ({256: 60_000, 257: 60_000}, {256: 2**31, 257: 2**31}):
        with pytest.raises(ImageError) as refused:
            decode(dng(preview, claims=claims), 8, ROOMY)
        assert refused.value.status == "oversized"
    with pytest.raises(ImageError, match="at most 76,799 are decoded"):
        decode(dng(preview), 8, WIDTH * HEIGHT - 1)


def test_a_preview_of_too_many_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match="576 x 432") as refused:
        decode(dng(jpeg(LARGE)), 8, 576 * 432 - 1)
    assert refused.value.status == "oversized"


@pytest.mark.parametrize("form", RIGHT)
def test_without_rawpy_the_sentence_says_what_to_install(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(ImageError, match=r"RAW of a camera.*rawpy.*pip install 'lookalike\[formats\]'") as caught:
        decode(RIGHT[form][0], 8, ROOMY)
    assert caught.value.status == "undecodable"


def test_what_libraw_does_not_know_is_a_sentence() -> None:
    for head in (b"\0MRM", b"FOVb", b"IIU\0\x18\0\0\0", b"II\x1a\0\0\0HEAPCCDR"):
        with pytest.raises(ImageError) as refused:
            decode(head + bytes(200), 8, ROOMY)
        assert refused.value.status in ("undecodable", "truncated")
        assert "b'" not in str(refused.value)


def test_a_job_that_is_older_goes_on_with_the_first_picture_of_a_raw_that_begins_as_a_tiff() -> None:
    data = encoded(Image.fromarray(quarters(SMALL)), "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    assert is_raw(data)
    shown = decode_photo(data, 1000, ROOMY, REDUCED_OPAQUE)
    np.testing.assert_array_equal(shown, quarters(SMALL))


def test_images_that_take_the_extra_are_counted_and_a_missing_one_is_named_when_they_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "b.NEF", "c.jxl", "d.dng"):
        (tmp_path / name).touch()
    write_tar(tmp_path / "e.tar", {"f.cr2": b"1", "g.png": b"2"})
    listing = open_source(str(tmp_path))
    assert len(list(listing)) == 6
    assert listing.notes[resolve.FORMATS_NOTE] == 4
    assert resolve.hint(listing.notes) is None
    monkeypatch.setattr(resolve, "find_spec", lambda name: None if name == "rawpy" else name)
    said = resolve.hint(listing.notes)
    assert said is not None
    assert said.startswith("rawpy is not installed here")
    assert said.endswith("pip install 'lookalike[formats]'")
    assert resolve.hint({}) is None


def test_a_folder_lists_the_raw_of_cameras() -> None:
    assert {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"} <= RAW_SUFFIXES
    assert RAW_SUFFIXES <= IMAGE_SUFFIXES
    assert not IMAGE_SUFFIXES & PICTURE_SUFFIXES


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("form", ["no preview", "a preview"])
def test_no_damage_of_a_raw_raises_anything_but_an_image_error(form: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = RIGHT[form][0]
    for _ in range(15):
        damaged = bytearray(data)
        for at in rng.integers(len(data) - 700, len(data), 3):
            damaged[at] = rng.integers(256)
        try:
            decode(bytes(damaged), 8, ROOMY)
        except ImageError:
            continue
