"""Write the features of a partition as two files, and map them: a row for each embedding, in the same order."""

import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shared.errors import CorruptFile
from shared.job.directory import JobDir
from shared.job.partition.features.record import PDQ_BYTES, ImageFeatures
from shared.storage import files

FEATURES_COLUMN: Final = "features"
"""The column of a chunk, and of rows on their way to a seal, that holds what `ImageFeatures.to_bytes` gives."""
DIGEST_BYTES: Final = 16
ROW: Final = np.dtype(
    [
        ("id", "<i8"),
        ("begin", "<u8"),
        ("bytes", "<u4"),
        ("check", "<u4"),
        ("image", "u1", (DIGEST_BYTES,)),
        ("pdq", "u1", (PDQ_BYTES,)),
        ("quality", "u1"),
    ]
)
"""A row: the image's id; where its local features begin in the other file, and their bytes, 0 where there are none; a
CRC-32 over `image`, quality, PDQ and local features; the first bytes of the SHA-256 of the image; PDQ and quality."""


class FeatureWriter:
    """Takes the features of a partition in the order of its embeddings; what was written is in `files` at the end."""

    def __init__(self, data: BinaryIO) -> None:
        self.files: dict[str, dict[str, int | str]] = {}
        self.without = 0
        self._data, self._at = data, 0
        self._digest = hashlib.sha256()
        self._rows: list[NDArray[np.void]] = []

    def add(self, table: pa.Table) -> None:
        """Take the rows of `table` whose status is "ok", with their columns id, sha256 and features."""
        good = table.filter(pc.equal(table["status"], "ok"))
        rows = np.zeros(len(good), ROW)
        columns = (good[name].to_pylist() for name in ("id", "sha256", FEATURES_COLUMN))
        for row, (image_id, sha256, data) in zip(rows, zip(*columns, strict=True), strict=True):
            row["id"] = image_id
            row["image"] = np.frombuffer(_image(sha256), np.uint8)
            row["begin"] = self._at
            if data is None:
                self.without += 1
                continue
            features = ImageFeatures.from_bytes(data)
            row["bytes"], row["quality"] = len(features.local), features.quality
            row["pdq"] = np.frombuffer(features.pdq, np.uint8)
            row["check"] = _check(_image(sha256), features)
            self._data.write(features.local)
            self._digest.update(features.local)
            self._at += len(features.local)
        self._rows.append(rows)

    def finish(self, table: Path) -> tuple[dict[str, int | str], dict[str, int | str]]:
        """Write the table; size and SHA-256 of it and of the other file."""
        file = io.BytesIO()
        rows = np.concatenate([np.zeros(0, ROW), *self._rows])
        np.lib.format.write_array(file, rows, allow_pickle=False)
        table.write_bytes(file.getvalue())
        return (
            {"bytes": len(file.getvalue()), "sha256": hashlib.sha256(file.getvalue()).hexdigest()},
            {"bytes": self._at, "sha256": self._digest.hexdigest()},
        )

    @property
    def rows(self) -> int:
        """How many rows were taken."""
        return sum(map(len, self._rows))


@contextmanager
def features_written(job: JobDir, partition: int) -> Iterator[FeatureWriter]:
    """Write the two files of a partition aside, which become its files when the block ends without an error.

    Until a marker names them they count for nothing.
    """
    finals = job.features_files(partition)
    with files.written_aside(finals[0]) as table, files.written_aside(finals[1]) as data:
        with open(data, "wb") as file:
            writer = FeatureWriter(file)
            yield writer
        entries = zip(finals, writer.finish(table), strict=True)
        writer.files = {path.relative_to(job.path).as_posix(): entry for path, entry in entries}


class FeatureRows:
    """The features of a partition, mapped: by row, in the order of its embeddings. Several threads may read at once."""

    def __init__(self, table: NDArray[np.void], data: NDArray[np.uint8], place: Path) -> None:
        self.table = table
        """The rows, of the type ROW."""
        self._data, self._place = data, place

    @classmethod
    def open(cls, table: Path, data: Path, rows: int) -> "FeatureRows":
        """Map the two files of a partition on this machine; CorruptFile unless they have `rows` and fit together."""
        try:
            found = np.load(table, mmap_mode="r" if rows else None, allow_pickle=False)
            begin = found.offset if isinstance(found, np.memmap) else table.stat().st_size - found.nbytes
            if table.stat().st_size != begin + found.nbytes:
                raise ValueError(f"it has {table.stat().st_size} bytes")
            size = data.stat().st_size
            mapped = np.memmap(data, np.uint8, "r").view(np.ndarray) if size else np.empty(0, np.uint8)
        except (OSError, ValueError, EOFError) as error:
            raise CorruptFile(f"The features {table} can't be read ({error}).") from None
        if found.dtype != ROW or found.shape != (rows,):
            raise CorruptFile(f"The features {table} are {found.dtype} {found.shape}; {rows} rows were expected.")
        if len(found) and int(found["begin"][-1]) + int(found["bytes"][-1]) != size:
            raise CorruptFile(f"The features {data} have {size} bytes, and {table} has rows up to another end.")
        return cls(found.view(np.ndarray), mapped, data)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The image ids of the rows, int64 [n], ascending."""
        return np.asarray(self.table["id"], np.int64)

    def row_of(self, image_id: int) -> int | None:
        """The row of an image; None if it is none of the partition, or failed."""
        if not len(self.table):
            return None
        # Where none failed so far, the place of an id says its row.
        guess = image_id - int(self.table[0]["id"])
        if 0 <= guess < len(self.table) and int(self.table[guess]["id"]) == image_id:
            return guess
        row = int(np.searchsorted(self.table["id"], image_id))
        return row if row < len(self.table) and int(self.table[row]["id"]) == image_id else None

    def features(self, row: int, sha256: str | None = None) -> ImageFeatures | None:
        """The features in a row; None where its image has none, or is none of the bytes `sha256`, if they are given.

        Raises CorruptFile when their checksum is wrong.
        """
        stored = self.table[row]
        length, begin = int(stored["bytes"]), int(stored["begin"])
        image = stored["image"].tobytes()
        if not length or (sha256 is not None and image != _image(sha256)):
            return None
        local = self._data[begin : begin + length].tobytes()
        try:
            found = ImageFeatures(stored["pdq"].tobytes(), int(stored["quality"]), local)
        except ValueError as error:
            raise CorruptFile(f"Row {row} of {self._place} can't be read ({error}).") from None
        if _check(image, found) != int(stored["check"]):
            raise CorruptFile(f"The features in row {row} of {self._place} have another checksum than was written.")
        return found

    def column(self, rows: Sequence[int]) -> list[bytes | None]:
        """The features in these rows, as the features column holds them. Raises as `features`."""
        found = (self.features(row) for row in rows)
        return [None if one is None else one.to_bytes() for one in found]


def _image(sha256: str | None) -> bytes:
    """By what a row tells its image from others; zeros for one whose bytes are not known."""
    return bytes.fromhex(sha256)[:DIGEST_BYTES] if sha256 is not None else bytes(DIGEST_BYTES)


def _check(image: bytes, features: ImageFeatures) -> int:
    return zlib.crc32(features.local, zlib.crc32(image + bytes([features.quality]) + features.pdq))
