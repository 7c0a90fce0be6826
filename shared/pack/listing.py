"""The listing of a pack: which images are to be packed, and under which names."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from shared.errors import PackError
from shared.images.members import Member
from shared.job.path_list import MEMBER
from shared.pack.directory import PackDir

LISTING_SCHEMA = pa.schema(
    [("id", pa.int64()), ("image_path", pa.string()), ("stem", pa.string()), ("suffix", pa.string()), MEMBER]
)


@dataclass(frozen=True, slots=True)
class PackItem:
    """One image to be packed under the name `stem` and `suffix`; the suffix is "" if its path has none.

    `member` is its place in the archive, if its source is an archive.
    """

    id: int
    image_path: str
    stem: str
    suffix: str
    member: Member | None = None


def read_listing(directory: PackDir, start: int) -> Iterator[PackItem]:
    """The images to be packed from the id `start` on, in order and in bounded memory."""
    try:
        # Read here, and not by Arrow, as shared/storage/parquet.py says: 2,000,000 paths are some tens of megabytes.
        with open(directory.listing, "rb") as file:
            listing = pq.ParquetFile(pa.BufferReader(file.read()), pre_buffer=False, page_checksum_verification=True)
        at = 0
        for group in range(listing.metadata.num_row_groups):
            rows = listing.metadata.row_group(group).num_rows
            at += rows
            if at > start:
                table = listing.read_row_group(group, use_threads=False).slice(max(0, start - (at - rows)))
                columns = [table[name].to_pylist() for name in LISTING_SCHEMA.names]
                for image, path, stem, suffix, member in zip(*columns, strict=True):
                    yield PackItem(image, path, stem, suffix, None if member is None else Member(**member))
    except (pa.ArrowException, FileNotFoundError, KeyError) as error:
        raise PackError(
            f"{directory.listing} can't be read ({error}): restore it from a copy, or pack into another directory."
        ) from None
