"""Decode JPEG XL with imagecodecs, an optional library, which only this module imports."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.errors import ImageError
from workers.images.formats.floats import float_samples_shown
from workers.images.formats.transparency import on_white
from workers.images.structure.claims import cut_short, is_zero
from workers.images.structure.jxl import jxl_header

_ENDS_EARLY: Final = "NEED_MORE_INPUT"
_ZEROS: Final = 64
_BAND: Final = 1 << 20  # How many pixels become bytes at once.


def jpeg_xl_pixels(data: bytes, what: str) -> NDArray[np.uint8]:
    """The first picture of a JPEG XL on white: BGR uint8 [h, w, 3], turned upright by the decoder.

    `what` names the file in an ImageError, which has the status truncated or undecodable, also if imagecodecs is not
    installed.
    """
    decode, header = _decoder(), jxl_header(data)
    try:
        samples = np.asarray(decode(data, index=0, numthreads=1))
    except Exception as error:  # A class of its own for each codec.
        if _ENDS_EARLY in str(error):
            raise cut_short(data, "the end of its pixels is missing") from error
        if is_zero(data, len(data) - _ZEROS):
            raise cut_short(data, "only zeros follow") from error
        raise ImageError(f"imagecodecs can't decode the {what}: {error}.") from error
    samples = samples[..., None] if samples.ndim == 2 else samples
    if samples.ndim != 3 or samples.shape[2] not in (1, 2, 3, 4):
        raise ImageError(f"The {what} came out as samples of the shape {samples.shape}, which is unusual.")
    if samples.dtype.kind == "f":
        return float_samples_shown(samples, what)
    return _shown(samples, header.bits)


def _decoder() -> Callable[..., NDArray[np.generic]]:
    try:
        from imagecodecs import jpegxl_decode
    except ImportError:
        raise ImageError(
            "The file is a JPEG XL image, for which imagecodecs is needed and not installed: pip install "
            "'lookalike[formats]', or convert it to JPEG."
        ) from None
    decode: Callable[..., NDArray[np.generic]] = jpegxl_decode
    return decode


def _shown(samples: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Whole-number samples [h, w, 1 to 4] of so many bits as bytes on white; the highest eight bits of more."""
    height, width, channels = samples.shape
    done = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BAND // max(width, 1))
    for top in range(0, height, rows):
        band = samples[top : top + rows]
        if bits > 8:
            band = band >> (bits - 8)
        elif bits < 8:
            band = band.astype(np.uint16) * 255 // ((1 << bits) - 1)
        whole = band.astype(np.uint8)
        if channels < 3:
            whole = np.concatenate([np.repeat(whole[..., :1], 3, 2), whole[..., 1:]], 2)
        done[top : top + rows] = on_white(whole) if channels in (2, 4) else whole[..., ::-1]
    return done
