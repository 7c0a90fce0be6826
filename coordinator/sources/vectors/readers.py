"""Read files of vectors, .npy and .fvecs, row by row in bounded memory, never mapped."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from shared.errors import SourceError

# Mapped files would be simpler, but one that is cut short or whose mount goes away ends the process by a signal.
Raw = np.ndarray
"""Vectors as they are in a file: float16, float32 or float64 [n, d], any byte order; NaN for null."""

_SPOT_CHECKS = 1_000


class VectorFile(Protocol):
    """One file of vectors: `rows` of `dim` values each; `dim` is None if no row holds a vector."""

    @property
    def path(self) -> Path: ...
    @property
    def rows(self) -> int: ...
    @property
    def dim(self) -> int | None: ...

    def read(self, start: int, stop: int) -> Raw:
        """The rows [start, stop) at once; raises SourceError when the file does not hold them as it said."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn every failure with a file of vectors in the block into a SourceError that names it."""
    try:
        yield
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".")
        raise SourceError(
            f"The vectors in {path} can't be read ({reason}): restore the file, or leave it out."
        ) from None


def _exactly(path: Path, offset: int, count: int, dtype: np.dtype[Any]) -> Raw:
    """`count` values at `offset`; SourceError when the file ends before them."""
    with readable(path):
        values = np.fromfile(path, dtype=dtype, count=count, offset=offset)
    if len(values) != count:
        raise SourceError(f"{path} got shorter while it was read: give it back its bytes, and run the command again.")
    return values


@dataclass(frozen=True, slots=True)
class NpyFile:
    """A .npy array [rows, dim] of floats, in C or Fortran order."""

    path: Path
    rows: int
    dim: int | None
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @classmethod
    def open(cls, path: Path) -> "NpyFile":
        """Read the header; SourceError when it is no header, or not one of floats [n, d], or data is missing."""
        with readable(path), open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise SourceError(
                    f"{path} is of .npy version {version[0]}.{version[1]}, which holds records, not vectors: "
                    "give floats [n, d]."
                )
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            offset = file.tell()
            size = path.stat().st_size
        if dtype.kind != "f" or dtype.itemsize > 8:
            raise SourceError(
                f"{path} holds values of type {dtype}; expected float16, float32 or float64: convert it with "
                "array.astype('float32')."
            )
        if len(shape) != 2:
            raise SourceError(
                f"{path} holds an array of the shape {list(shape)}; expected [n, d], a vector in each row."
            )
        rows, dim = shape
        expected = offset + rows * dim * dtype.itemsize
        if size < expected:
            raise SourceError(
                f"{path} is cut short: it has {size:,} bytes, and {rows:,} x {dim:,} {dtype} take {expected:,}."
            )
        return cls(path, rows, dim, dtype, fortran and rows > 1, offset)

    def read(self, start: int, stop: int) -> Raw:
        assert self.dim is not None
        each = self.dtype.itemsize
        if not self.fortran:
            values = _exactly(self.path, self.offset + start * self.dim * each, (stop - start) * self.dim, self.dtype)
            return values.reshape(stop - start, self.dim)
        columns = np.empty((self.dim, stop - start), dtype=self.dtype)
        for number in range(self.dim):
            offset = self.offset + (number * self.rows + start) * each
            columns[number] = _exactly(self.path, offset, stop - start, self.dtype)
        return columns.T


@dataclass(frozen=True, slots=True)
class FvecsFile:
    """An .fvecs file: for each row the number of its dimensions as int32, then that many float32, little-endian."""

    path: Path
    rows: int
    dim: int | None

    @classmethod
    def open(cls, path: Path) -> "FvecsFile":
        """Compare the size with the counts of some rows; SourceError when they do not agree."""
        with readable(path), open(path, "rb") as file:
            size = path.stat().st_size
            if not size:
                return cls(path, 0, None)
            first = file.read(4)
            dim = int.from_bytes(first, "little", signed=True)
            if len(first) < 4 or not 1 <= dim <= 1 << 24:
                raise SourceError(
                    f"{path} begins with a vector of {dim:,} dimensions, so it is no .fvecs file: expected the number "
                    "of dimensions as int32 before the float32 values of each vector."
                )
            rows, over = divmod(size, 4 + 4 * dim)
            # The last row matters most: a file of other counts seldom ends where ours would.
            spots = np.unique(np.linspace(0, rows - 1, min(rows, _SPOT_CHECKS)).astype(np.int64)) if rows else ()
            for row in spots:
                file.seek(int(row) * (4 + 4 * dim))
                found = int.from_bytes(file.read(4), "little", signed=True)
                if found != dim:
                    raise _changed(path, int(row), found, dim)
        if over:
            raise SourceError(
                f"{path} is cut short: its {size:,} bytes hold {rows:,} vectors of {dim:,} dimensions, and {over:,} "
                "bytes of another."
            )
        return cls(path, rows, dim)

    def read(self, start: int, stop: int) -> Raw:
        assert self.dim is not None
        width = 1 + self.dim
        words = _exactly(self.path, start * 4 * width, (stop - start) * width, np.dtype("<i4")).reshape(-1, width)
        other = np.flatnonzero(words[:, 0] != self.dim)
        if len(other):
            raise _changed(self.path, start + int(other[0]), int(words[other[0], 0]), self.dim)
        return words[:, 1:].view(np.dtype("<f4"))


def _changed(path: Path, row: int, found: int, dim: int) -> SourceError:
    return SourceError(
        f"Row {row:,} of {path} says that it has {found:,} dimensions, and the first row has {dim:,}: all vectors of "
        "an .fvecs file need the same number."
    )
