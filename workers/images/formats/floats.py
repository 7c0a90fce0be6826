"""Decode images whose samples are floats: PFM files, and TIFFs of 32 or 64 bits. White is 1 and black 0 in both."""

import re
from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import ImageError
from workers.images.structure.claims import cut_short, require_data, require_pixels
from workers.images.structure.raster import TIFFS, tiff_tags

_PFM_BEGINS: Final = re.compile(rb"P[Ff]\s+\d")
_PFM_HEADER: Final = re.compile(rb"P([Ff])\s+(\d{1,10})\s+(\d{1,10})\s+([-+]?[\d.]{1,32}(?:[eE][-+]?\d{1,3})?)\s")
_PFM_HEADER_BYTES: Final = 128
_BITS, _PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA, _MEANING = 258, 262, 277, 284, 338, 339
_FLOAT: Final = 3
_ASSOCIATED, _STRAIGHT = 1, 2  # A fourth sample: transparency by which the colours were multiplied, or not.
# OpenCV holds all samples at once, and beside them a strip of the file, which may hold all of them again.
MOST_BYTES: Final = 1 << 30
BAND: Final = 1 << 20  # How many pixels become bytes at once.


def is_pfm(data: bytes) -> bool:
    """Whether the file begins as a PFM: the letters of its kind and a number."""
    return _PFM_BEGINS.match(data) is not None


def pfm_size(data: bytes) -> tuple[int, int]:
    """Width and height by the header of a PFM; ImageError for one that is damaged or not whole."""
    return _pfm_header(data)[:2]


def _pfm_header(data: bytes) -> tuple[int, int, int, np.dtype[np.float32], int]:
    """Width, height, samples a pixel, their kind and where they begin."""
    found = _PFM_HEADER.match(data)
    if found is None:
        if len(data) < _PFM_HEADER_BYTES and not data[2:].strip(b"0123456789.-+eE \t\r\n"):
            raise cut_short(data, "its header is not whole")
        raise ImageError("The header of the PFM is damaged: a width, a height and a scale are to stand there.")
    scale = _number(found[4])
    if abs(scale) != 1:
        raise ImageError(
            f"The PFM has the scale {scale:g}, which programs take for different things: save it with samples from 0 "
            "to 1 and the scale 1 or -1."
        )
    samples = 3 if found[1] == b"F" else 1
    return int(found[2]), int(found[3]), samples, np.dtype("<f4" if scale < 0 else ">f4"), found.end()


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        raise ImageError(f"The PFM is damaged: its scale is {text.decode('ascii')}, which is no number.") from None


def require_pfm(data: bytes, max_pixels: int) -> None:
    """Raise ImageError for a PFM of too many pixels, or of fewer samples than it claims."""
    width, height, samples, kind, start = _pfm_header(data)
    if not width or not height:
        raise ImageError(f"The PFM has {width} x {height} pixels: it is damaged.")
    require_pixels(width, height, max_pixels)
    require_data(data, len(data) - start, width * height * samples * kind.itemsize, width, height)


def float_samples(data: bytes, kind: str) -> int:
    """How many float samples a pixel of this file has; 0 if they are no floats."""
    if kind == "PFM":
        return _pfm_header(data)[2]
    return _float_samples(tiff_tags(data)) if kind == "TIFF" else 0


def float_tiff_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a TIFF of floats; None for others. Pillow reads no header of one with colours."""
    if not data.startswith(TIFFS) or not _float_samples(tags := tiff_tags(data)):
        return None
    width, height = (next(iter(tags.get(tag, ())), 0) for tag in (256, 257))
    if not width or not height:
        raise ImageError(f"The TIFF has {width} x {height} pixels: it is damaged.")
    return width, height


def _float_samples(tags: dict[int, list[int]]) -> int:
    return tags.get(_SAMPLES, [1])[0] if _FLOAT in tags.get(_MEANING, ()) else 0


def float_pixels(data: bytes, kind: str, what: str) -> NDArray[np.uint8]:
    """The picture of a PFM, or of a TIFF of floats, on white: BGR uint8 [h, w, 3], upright.

    A sample is shown as 255 times its value, rounded. Raises ImageError, status undecodable, if a sample is no number
    or outside of 0 to 1, which names the range that was found, or if the file is of an unusual kind; `what` names the
    file.
    """
    if kind == "PFM":
        width, height, samples, floats, start = _pfm_header(data)
        found = np.frombuffer(data, floats, width * height * samples, start)
        # The rows go from the bottom to the top.
        return _shown(found.reshape(height, width, samples)[::-1, :, ::-1], None, what)
    extra = _require_usual(tiff_tags(data), what)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f"OpenCV can't decode the {what}: {error.err or error}.") from error
    if pixels is None or pixels.dtype not in (np.float32, np.float64):
        raise ImageError(f"OpenCV can't decode the {what}, which holds floats; it is damaged or unusual.")
    decoded = cast(NDArray[np.floating[Any]], pixels)
    return _shown(decoded[..., None] if decoded.ndim == 2 else decoded, extra, what)


def _require_usual(tags: dict[int, list[int]], what: str) -> int | None:
    """The meaning of the fourth sample of a TIFF of floats, None without one; ImageError for kinds that are not
    decoded.
    """
    samples, bits = tags.get(_SAMPLES, [1])[0], tags.get(_BITS, [1])
    extra = tags.get(_EXTRA, [0])[0] if samples == 4 else None
    unusual = {
        f"floats of {min(bits)} bits": set(bits) - {32, 64} or len(set(bits)) > 1,
        "floats beside other numbers": set(tags.get(_MEANING, ())) != {_FLOAT},
        f"floats of {samples} samples a pixel": samples not in (1, 3, 4),
        "floats in planes": samples > 1 and tags.get(_PLANES, [1])[0] != 1,
        "floats of unusual colours": tags.get(_PHOTOMETRIC, [0])[0] != (1 if samples == 1 else 2),
        "a fourth sample that it does not explain": extra not in (None, _ASSOCIATED, _STRAIGHT),
    }
    if why := next((why for why, is_so in unusual.items() if is_so), None):
        raise ImageError(
            f"The {what} holds {why}, which is not decoded here: save it as grey or RGB of 32 bits, or convert it to 8 "
            "or 16 bits."
        )
    width, height = (next(iter(tags.get(tag, ())), 0) for tag in (256, 257))
    _require_bytes(width * height * samples * bits[0] // 8, what)
    return extra


def float_samples_shown(samples: NDArray[Any], what: str) -> NDArray[np.uint8]:
    """Show floats [h, w, 1 to 4], grey or RGB with alpha last, as `float_pixels` shows those of a PFM or TIFF."""
    channels = samples.shape[2]
    order = {1: [0], 2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    _require_bytes(samples.nbytes, what)
    return _shown(samples[..., order], _STRAIGHT if channels in (2, 4) else None, what)


def _require_bytes(taken: int, what: str) -> None:
    if taken > MOST_BYTES:
        raise ImageError(
            f"The floats of the {what} take {taken:,} bytes; at most {MOST_BYTES:,} are decoded: make it smaller, or "
            "convert it to 8 or 16 bits.",
            "oversized",
        )


def _shown(samples: NDArray[np.floating[Any]], extra: int | None, what: str) -> NDArray[np.uint8]:
    """Samples in OpenCV's order, float [h, w, 1, 3 or 4], as bytes on white. `extra` is the meaning of a fourth
    sample.
    """
    low, high = float(samples.min()), float(samples.max())
    _require_range(low, high, what)
    height, width = samples.shape[:2]
    done = np.empty((height, width, 3), np.uint8)
    rows = max(1, BAND // max(width, 1))
    for top in range(0, height, rows):
        band = samples[top : top + rows]
        colours = band[..., :3]
        if extra is not None:
            alpha = band[..., 3:]
            colours = (colours * alpha if extra == _STRAIGHT else colours) + (1 - alpha)
            _require_range(float(colours.min()), float(colours.max()), what)
        done[top : top + rows] = np.rint(colours * 255)
    return done


def _require_range(low: float, high: float, what: str) -> None:
    if not np.isfinite([low, high]).all():
        raise ImageError(
            f"The {what} holds floats that are no numbers or infinite: save it with samples from 0, which is black, to "
            "1, which is white."
        )
    if np.rint(low * 255) < 0 or np.rint(high * 255) > 255:
        raise ImageError(
            f"The {what} holds floats from {low:g} to {high:g}; expected are samples from 0, which is black, to 1, "
            "which is white: scale them to that, or convert it to 8 or 16 bits."
        )
