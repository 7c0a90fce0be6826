"""An image file whose end is missing is called truncated in every format, or decoded where nothing needed is."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.errors import ImageError
from tests.support.images.strange import encoded
from workers.images.decode import decode
from workers.images.header import FORMATS

SIZE, ROOMY = 8, 10**6
WIDTH, HEIGHT = 80, 60
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
SMOOTH = np.dstack([*np.mgrid[0:HEIGHT, 0:WIDTH] * 3, np.full((HEIGHT, WIDTH), 99)]).astype(np.uint8)
# So many bytes say what a file is; a shorter one may be anything.
SAID = 12

FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jpeg": ("JPEG", "RGB", {}),
    "progressive jpeg": ("JPEG", "RGB", {"progressive": True}),
    "png": ("PNG", "RGB", {}),
    "png with alpha": ("PNG", "RGBA", {}),
    "webp": ("WEBP", "RGB", {}),
    "lossless webp": ("WEBP", "RGBA", {"lossless": True}),
    "gif": ("GIF", "P", {}),
    "bmp": ("BMP", "RGB", {}),
    "bmp of 8 bits": ("BMP", "P", {}),
    "bmp of 1 bit": ("BMP", "1", {}),
    "tiff": ("TIFF", "RGB", {}),
    "tiff of lzw": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "tiff of deflate": ("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}),
    "tiff of jpeg": ("TIFF", "RGB", {"compression": "jpeg"}),
    "tiff of packbits": ("TIFF", "RGB", {"compression": "packbits"}),
    "tiff of group 4": ("TIFF", "1", {"compression": "group4"}),
    "jp2": ("JPEG2000", "RGB", {}),
    "jp2 of tiles": ("JPEG2000", "RGB", {"tile_size": (32, 32)}),
    "j2k": ("JPEG2000", "RGB", {"no_jp2": True}),
    "pbm": ("PPM", "1", {}),
    "pgm": ("PPM", "L", {}),
    "ppm": ("PPM", "RGB", {}),
    "avif": ("AVIF", "RGB", {}),
    "avif with alpha": ("AVIF", "RGBA", {}),
}


def written(name: str, pixels: np.ndarray[Any, Any]) -> bytes:
    kind, mode, options = FILES[name]
    if kind not in FORMATS:
        pytest.skip(f"this build of Pillow writes no {kind}")
    return encoded(Image.fromarray(pixels).convert(mode), kind, **options)


def outcome(data: bytes) -> tuple[str, object]:
    """How decoding ends, and the pixels."""
    try:
        return "ok", decode(data, SIZE, ROOMY).pixels.tolist()
    except ImageError as error:
        return error.status, None


@pytest.mark.parametrize("pixels", [NOISE, SMOOTH], ids=["noise", "smooth"])
@pytest.mark.parametrize("name", FILES)
def test_what_is_cut_anywhere_is_truncated_or_gives_the_pixels_of_the_whole(
    name: str, pixels: np.ndarray[Any, Any]
) -> None:
    data = written(name, pixels)
    whole = outcome(data)
    assert whole[0] == "ok"
    lengths = {*range(SAID, min(150, len(data))), *range(150, len(data), max(1, len(data) // 40))}
    for length in sorted(lengths | {*range(max(SAID, len(data) - 12), len(data))}):
        found = outcome(data[:length])
        if found != whole:
            assert found[0] == "truncated", length
        else:  # Only what ends a file may be missing.
            assert length >= len(data) - 2


@pytest.mark.parametrize("name", FILES)
def test_the_first_bytes_alone_are_no_image(name: str) -> None:
    data = written(name, NOISE)
    assert {outcome(data[:length])[0] for length in range(1, SAID)} <= {"not-an-image", "truncated", "undecodable"}


@pytest.mark.parametrize(
    "name", ["jpeg", "progressive jpeg", "png", "webp", "gif", "jp2", "jp2 of tiles", "j2k", "avif", "avif with alpha"]
)
@pytest.mark.parametrize("part", [0.4, 0.6, 0.9])
def test_a_tail_of_zeros_is_truncated(name: str, part: float) -> None:
    data = written(name, NOISE)
    length = int(len(data) * part)
    assert outcome(data[:length] + bytes(len(data) - length))[0] == "truncated"


@pytest.mark.parametrize("options", [{"quality": 80}, {"quality": 1, "method": 0}, {"lossless": True, "method": 0}])
@pytest.mark.parametrize("colour", [0, 128, 255])
def test_a_webp_whose_picture_ends_plain_is_whole_though_its_file_ends_with_zeros(
    options: dict[str, Any], colour: int
) -> None:
    down, across = np.mgrid[0:1000, 0:1000]
    pixels = np.dstack([across * 255 // 1000, down * 255 // 1000, (across + down) % 256]).astype(np.uint8)
    pixels[500:] = colour
    data = encoded(Image.fromarray(pixels), "WEBP", **options)
    if "lossless" in options:
        assert data.endswith(bytes(1_000))  # The kind that must not be taken for a download that stopped.
    shown = decode(data, SIZE, ROOMY).pixels
    assert np.abs(shown[-2:].astype(int) - colour).max() < 12


def test_an_animation_cut_behind_its_first_frame_gives_it() -> None:
    frames = [Image.fromarray(pixels).convert("P") for pixels in (SMOOTH, NOISE)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    first = len(encoded(frames[0], "GIF")) + 60
    for length in range(first, len(data), 300):
        assert outcome(data[:length]) == outcome(data)


def test_a_picture_of_plain_ascii_numbers_lacks_some() -> None:
    data = b"P3 4 2 255\n" + b" ".join(b"%d" % value for value in range(100, 124)) + b"\n"
    assert outcome(data)[0] == "ok"
    for length in range(SAID, len(data) - 4):
        assert outcome(data[:length])[0] == "truncated"


@pytest.mark.parametrize("missing", [1, 2, 9])
def test_runs_of_a_bmp_that_end_before_it_is_full_are_truncated(missing: int) -> None:
    runs = b"".join(bytes([WIDTH, row % 256]) + b"\0\0" for row in range(HEIGHT)) + b"\0\1"
    head = b"(\0\0\0" + b"".join(
        n.to_bytes(4, "little") for n in (WIDTH, HEIGHT, 1 | 8 << 16, 1, len(runs), 0, 0, 256, 0)
    )
    palette = bytes(value for grey in range(256) for value in (grey, grey, grey, 0))
    data = b"BM" + (1078 + len(runs)).to_bytes(4, "little") + bytes(4) + (1078).to_bytes(4, "little") + head + palette
    assert outcome(data + runs)[0] == "ok"
    short = runs[: len(runs) - missing]
    assert outcome(data + short) == (outcome(data + runs) if missing <= 2 else ("truncated", None))
