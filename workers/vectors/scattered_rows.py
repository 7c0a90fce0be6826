"""Rows that are scattered over several arrays, copied in one call."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float16] | npt.NDArray[np.int8]
Rows = npt.NDArray[np.int64]


class ScatteredRows:
    """Rows of several arrays, copied in one call, wherever they are in memory.

    A call for each array would take longer than the copying: two hundred candidates are in forty partitions.
    """

    def __init__(self, parts: Sequence[Numbers], dim: int, dtype: npt.DTypeLike = np.float16) -> None:
        """`parts` are `dtype` [n, dim], each contiguous."""
        self._dim = dim
        self._dtype = np.dtype(dtype)
        self._row_bytes = self._dtype.itemsize * dim
        addresses = np.array([part.ctypes.data for part in parts], dtype=np.int64)
        filled = [part for part in parts if len(part)]
        first = min((part.ctypes.data for part in filled), default=0)
        last = max((part.ctypes.data + part.nbytes for part in filled), default=0) - self._row_bytes
        self._offsets = addresses - first
        # A row at each byte from the first part's beginning to the last row of the last. Only the places where a part
        # has a row are ever read. The parts live as long as the array. The array does not refer to itself, which would
        # keep unused mappings until Python collects such cycles.
        described = {
            "version": 3,
            "data": (first, True),
            "typestr": f"|V{self._row_bytes}",
            "shape": (last - first + 1 if filled else 0,),
            "strides": (1,),
        }
        self._every_byte = np.asarray(SimpleNamespace(__array_interface__=described, parts=parts))

    def rows(self, numbers: Rows, local: Rows) -> Any:
        """A copy of the rows `local` of the parts `numbers`, both int64 [n], which must be there: [n, d]."""
        found = self._every_byte[self._offsets[numbers] + local * self._row_bytes].view(self._dtype)
        return found.reshape(-1, self._dim)
