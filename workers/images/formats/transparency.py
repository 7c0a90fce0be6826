"""Tell by the header whether an image may be transparent, and put its pixels on white."""

import io
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_PNG_KEYED = {0: 1, 2: 3, 3: 0}  # The colour types whose transparency is a chunk of its own, and their samples.
_BAND = 1 << 20  # How many pixels are put on white at once: the 16-bit products of all would take more than the image.
_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")


def may_be_transparent(data: bytes, kind: str) -> bool:
    """Whether an image file may be transparent, by its header; never false if it is.

    A PNG or WebP tells by a few of its bytes, so photographs cost nothing here. A GIF whose frame is smaller than its
    screen is transparent around it, whatever else it says.
    """
    if kind == "PNG":
        return data[25:26] in (b"\4", b"\6") or png_key(data) is not None
    if kind == "WEBP":
        return _webp_alpha(data)
    if kind == "GIF":
        return True
    if kind in ("JPEG", "MPO", "PPM"):
        return False
    with suppress(Exception), Image.open(io.BytesIO(data), formats=(kind,)) as image:
        return image.mode in _ALPHA or image.has_transparency_data
    return False  # The decoder says what is wrong with it.


def png_key(data: bytes) -> bytes | None:
    """The content of the tRNS chunk of a PNG, if its colour type allows for one."""
    at = 8
    while data[at + 4 : at + 8] not in (b"IDAT", b""):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"tRNS" and data[25] in _PNG_KEYED:
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return None


def _webp_alpha(data: bytes) -> bool:
    if data[12:16] == b"VP8X":
        return bool(data[20] & 0x12)  # Alpha, or an animation: its first frame may leave some of the canvas bare.
    return data[12:16] == b"VP8L" and bool(data[24] & 0x10)


def on_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGBA uint8 [h, w, 4] put on white: BGR uint8 [h, w, 3], in OpenCV's order. Opaque pixels stay as they are."""
    height, width = pixels.shape[:2]
    done = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BAND // max(width, 1))
    for top in range(0, height, rows):
        band = pixels[top : top + rows]
        alpha = band[..., 3:].astype(np.uint16)
        # At most 255 * 255 + 127, which fits.
        done[top : top + rows] = (band[..., 2::-1] * alpha + 255 * (255 - alpha) + 127) // 255
    return done
