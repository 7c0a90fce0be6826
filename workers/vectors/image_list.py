"""Read and write the list of the images of a build: the image of each row of the embeddings."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from shared.errors import CorruptFile
from shared.errors.remedy import Remedy
from shared.job.directory import JobDir
from shared.job.partition.ledger import Seal
from shared.job.source.moved import NOT_MOVED, Moved
from shared.processes.failpoints import failpoint
from shared.storage import files
from shared.storage.parquet import read_table
from workers.vectors.embeddings import Rows

IMAGES_SCHEMA = pa.schema(
    [pa.field("id", pa.int64(), nullable=False), pa.field("image_path", pa.string(), nullable=False)]
)

_NONE: Rows = np.empty(0, np.int64)


class Images:
    """The image of each row of a build: ids int64 [N], and image paths that stay on disk until one is asked for."""

    def __init__(self, batches: Sequence[pa.RecordBatch], moved: Moved = NOT_MOVED) -> None:
        """`batches` hold the paths that were listed; `moved` says where their source has moved since."""
        self._moved = moved
        self._paths = [batch.column("image_path") for batch in batches]
        self._starts = np.concatenate([[0], np.cumsum([len(batch) for batch in batches])]).astype(np.int64)
        self.ids: Rows = np.concatenate([np.empty(0, np.int64), *(batch.column("id").to_numpy() for batch in batches)])

    @classmethod
    def open(
        cls, path: Path, moved: Moved = NOT_MOVED, later: Iterable[pa.RecordBatch] = (), purged: Rows = _NONE
    ) -> "Images":
        """Map a file that `write_images` wrote; raises CorruptFile when it is something else.

        The images of `later`, which are not in the file, follow those that are. The rows of those that were `purged`
        since, int64 ids, are left out, as the embeddings of the job are without theirs.
        """
        return cls.open_without(path, purged, moved, later)[0]

    @classmethod
    def open_without(
        cls, path: Path, purged: Rows, moved: Moved = NOT_MOVED, later: Iterable[pa.RecordBatch] = ()
    ) -> "tuple[Images, Rows]":
        """As `open`, with the rows of the file, int64 ascending, that are left out as they were `purged`."""
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            if not reader.schema.equals(IMAGES_SCHEMA):
                raise ValueError(f"its columns are {reader.schema.names}")
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        except (OSError, ValueError, pa.ArrowException) as error:
            raise CorruptFile(
                f"{path} is not the list of images of an index ({error})",
                remedy=Remedy("repair", does="removes the build", then=Remedy("make", does="builds it anew")),
            ) from None
        left, gone, start = [], [np.empty(0, np.int64)], 0
        for batch in batches:
            is_gone = np.isin(batch.column("id").to_numpy(), purged)
            # Without such rows it stays mapped as it is.
            left.append(batch.filter(pa.array(~is_gone)) if is_gone.any() else batch)
            gone.append(start + np.flatnonzero(is_gone))
            start += len(batch)
        return cls([*left, *later], moved), np.concatenate(gone)

    def paths(self, rows: Rows) -> list[str]:
        """Where the images of the given rows are now, int64 [n]."""
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        places = zip(numbers.tolist(), (rows - self._starts[numbers]).tolist(), strict=True)
        return [self._moved.now(self._paths[number][place].as_py()) for number, place in places]


def write_images(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """Write id and image_path of all rows as an Arrow file, uncompressed so that it can be mapped."""
    with (
        files.written_aside(path) as aside,
        pa.OSFile(str(aside), "wb") as sink,
        pa.ipc.new_file(sink, IMAGES_SCHEMA) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)


def sealed_images(job: JobDir, seals: Iterable[Seal]) -> Iterator[pa.RecordBatch]:
    """Id and image path of the embedded images, one batch a partition, pages checked; CorruptFile when unreadable."""
    failpoint("check_sealed")
    for seal in seals:
        table = read_table(job.metadata(seal.partition), IMAGES_SCHEMA.names).cast(IMAGES_SCHEMA)
        yield (table.combine_chunks().to_batches()[0] if len(table) else pa.RecordBatch.from_pylist([], IMAGES_SCHEMA))
