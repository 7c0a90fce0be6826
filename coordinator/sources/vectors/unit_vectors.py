"""Turn vectors of any length and precision into unit vectors in float16 (pure)."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared.vectors import narrow, widen

_PIECE: Final = 65_536
"""How many values are worked on at once: intermediate values stay in the cache of one core."""
# If the sum of squares is between these, float32 neither overflowed nor lost digits.
_LEAST, _MOST = np.float32(1e-20), np.float32(1e30)
# How far the length of a vector moves when its values are rounded to float16.
_ROUNDING = np.float32(2.0**-11)


def to_unit_vectors(vectors: np.ndarray) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    """Unit vectors, float16 [good, d], and which of `vectors` [n, d] (any floats) have one, bool [n].

    A vector that is zero or not finite has none. A float16 vector whose length is 1 but for rounding stays as it is to
    the bit, so that embeddings that lookalike sealed come back the same.
    """
    count, dim = vectors.shape
    found = np.empty((count, dim), dtype=np.float16)
    good = np.zeros(count, dtype=bool)
    rows = max(1, _PIECE // max(1, dim))
    for start in range(0, count, rows):
        piece = slice(start, start + rows)
        found[piece], good[piece] = _piece(vectors[piece])
    return (found if good.all() else found[good]), good


def _piece(raw: np.ndarray) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
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
