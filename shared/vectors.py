"""Convert float16 from and to float32 by moving bits, many times faster than NumPy's own; make unit vectors."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

_PIECE: Final = 16_384
"""How many values are narrowed at once: intermediate values stay in the cache of one core."""
_VALUES: Final = 65_536
"""How many values are worked on at once: intermediate values stay in the cache of one core."""
# If the sum of squares is between these, float32 neither overflowed nor lost digits.
_LEAST, _MOST = np.float32(1e-20), np.float32(1e30)
# How far the length of a vector moves when its values are rounded to float16.
_ROUNDING = np.float32(2.0**-11)
_SIZE = np.int32(0x7FFF_FFFF)
_LEAST_NORMAL = np.int32(113 << 23)  # 2^-14, the least normal float16, as float32.
_BIAS = np.int32(0xFFF - (112 << 23))  # The exponents' difference, and half of the bits that are dropped, less one.


def widen(half: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """float32 of finite float16 values, exactly; a new array of the same shape."""
    bits = half.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(-0x70002000)  # The sign, which the widening to int32 copied, and the 15 bits below it.
    floats = bits.view(np.float32)
    floats *= np.float32(2.0**112)  # The difference of the two exponent biases, which also rights subnormal values.
    return floats


def unit(half: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """Rows, float16 [n, d], as float32 of length 1."""
    wide = widen(half)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return wide


def narrow(floats: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """float16 of float32 values of magnitude up to 2, to the nearest, ties to even: a new array of the same shape.

    The bits are those that `astype` gives; NaN and values beyond 2 are not checked for.
    """
    flat = np.ascontiguousarray(floats).reshape(-1)
    half = np.empty(len(flat), dtype=np.float16)
    for start in range(0, len(flat), _PIECE):
        half[start : start + _PIECE] = _narrowed(flat[start : start + _PIECE])
    return half.reshape(floats.shape)


def _narrowed(floats: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    bits = floats.view(np.int32)
    size = bits & _SIZE
    # Below 2^-14 the last bit of a float16 is worth 2^-24, as that of a float32 is from 0.5 on: the sum rounds there.
    tiny = (size.view(np.float32) + np.float32(0.5)).view(np.int32)
    tiny -= np.int32(0x3F00_0000)
    half = size >> 13
    half &= 1
    half += size
    half += _BIAS
    half >>= 13
    size -= _LEAST_NORMAL
    size >>= 31  # All bits where the value is tiny, none elsewhere: a choice by masks, as np.where is slow.
    tiny ^= half
    tiny &= size
    half ^= tiny
    sign = bits >> 16
    sign &= np.int32(0x8000)
    half |= sign
    return half.astype(np.uint16).view(np.float16)


def to_unit_vectors(vectors: np.ndarray) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    """Unit vectors, float16 [good, d], and which of `vectors` [n, d] (any floats) have one, bool [n].

    A vector that is zero or not finite has none. A float16 vector whose length is 1 but for rounding stays as it is to
    the bit, so that embeddings that lookalike sealed come back the same.
    """
    count, dim = vectors.shape
    found = np.empty((count, dim), dtype=np.float16)
    good = np.zeros(count, dtype=bool)
    rows = max(1, _VALUES // max(1, dim))
    for start in range(0, count, rows):
        piece = slice(start, start + rows)
        found[piece], good[piece] = _normed(vectors[piece])
    return (found if good.all() else found[good]), good


def _normed(raw: np.ndarray) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    native = np.ascontiguousarray(raw, dtype=raw.dtype.newbyteorder("="))
    if native.dtype == np.float16:
        floats = widen(native)
        # `widen` takes NaN and infinity, whose exponent is all ones, for finite values.
        infinite = ((native.view(np.int16) & np.int16(0x7C00)) == 0x7C00).any(axis=1)
    else:
        with np.errstate(over="ignore"):
            floats = native.astype(np.float32)  # A copy: it is scaled in place.
        infinite = np.zeros(len(native), dtype=bool)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        squares = np.einsum("ij,ij->i", floats, floats)
        lengths = np.sqrt(squares)
        good = (squares > _LEAST) & (squares < _MOST) & ~infinite
        keep = np.zeros(len(native), dtype=bool)
        if native.dtype == np.float16:
            keep = good & (np.abs(lengths - 1) <= _ROUNDING)
            if keep.all():
                return native, good
        odd = np.flatnonzero(~good & ~infinite)
        lengths[~good] = 1
        floats /= lengths[:, None]
        for row in odd:
            unit = _exact(native[row])
            good[row] = unit is not None
            floats[row] = 0 if unit is None else unit
        floats[infinite] = 0
    half = narrow(floats)
    half[keep] = native[keep]
    return half, good


def _exact(row: npt.NDArray[Any]) -> npt.NDArray[np.float32] | None:
    """The unit vector of a vector whose squares float32 can't hold; None when it has none."""
    wide = row.astype(np.float64)
    largest = np.abs(wide).max()
    if not 0 < largest < np.inf:  # NaN compares false.
        return None
    wide /= largest
    return np.asarray(wide / np.linalg.norm(wide), dtype=np.float32)
