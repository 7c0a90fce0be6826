"""What a job knows of its images that tells which of two copies is better, and which are the same bytes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shared.job.changes.log import Ids
from shared.job.index.duplicates.neighbours import firsts
from shared.job.opened import OpenJob
from shared.job.partition.ledger import Seal
from shared.storage.parquet import read_table

_LOSSLESS: Final = r"(?i)\.(png|tiff?|bmp|ppm|pgm|pnm|psd|tga|qoi|dng|cr2|cr3|nef|arw|raf|orf|rw2)$"

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """The embedded images of a job, by their places in the order of the ids; all arrays are [n].

    `ids` is int64 ascending. `live` is which of them were not removed. `nodes` is the place of the image that stands
    for each: the first live one of the same bytes. `pixels` and `bytes` are int64, 0 where they are not known;
    `lossless` says by the name whether its format keeps every pixel. `hashed` is whether the bytes are known at all.
    """

    ids: Ids
    live: npt.NDArray[np.bool_]
    nodes: Places
    pixels: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]
    lossless: npt.NDArray[np.bool_]
    hashed: npt.NDArray[np.bool_]

    def places(self, ids: Ids) -> Places:
        """The places of image ids, int64 [m]; -1 for one that the job holds nothing of."""
        places = np.searchsorted(self.ids, ids)
        places[places == len(self.ids)] = 0
        if not len(self.ids):
            return np.full(len(ids), -1, np.int64)
        found: Places = np.where(self.ids[places] == ids, places, -1)
        return found

    def ranks(self, sharpness: npt.NDArray[np.float32], grey: npt.NDArray[np.bool_]) -> Places:
        """The rank of each image, int64 [n]: 0 for the one that is best to be kept.

        By pixels, then the colours, which those that are `grey` (bool [n]) have lost, then bytes, then `sharpness`
        (float32 [n], 0 where it was not measured), then a format that keeps every pixel, then the id.
        """
        order = np.lexsort((self.ids, ~self.lossless, -sharpness, -self.bytes, grey, -self.pixels))
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        return ranks


def read_facts(job: OpenJob, seals: Iterable[Seal]) -> Facts:
    """The facts about the images of some sealed partitions of a job, in order. Raises CorruptFile as `read_table`."""
    tables = [_facts(read_table(job.metadata(seal.partition), _COLUMNS)) for seal in seals if seal.embedded]
    if tables:
        ids, pixels, sizes, lossless, hashed, digests = (np.concatenate(some) for some in zip(*tables, strict=True))
    else:
        ids = pixels = sizes = np.empty(0, np.int64)
        lossless = hashed = np.empty(0, bool)
        digests = np.empty((0, 2), np.uint64)
    live = ~job.state.lacks(ids)
    nodes = np.arange(len(ids))
    # Of equal bytes the first that is live stands for all: those that were removed come behind.
    known = np.flatnonzero(hashed)
    known = known[np.lexsort((known, ~live[known]))]
    nodes[known] = known[firsts(digests[known])]
    return Facts(ids, live, nodes, pixels, sizes, lossless, hashed)


_COLUMNS: Final = ["id", "image_path", "width", "height", "bytes", "sha256"]


def _facts(table: pa.Table) -> tuple[np.ndarray, ...]:
    # Vectors may have come with a column of that name in which there is something else, or nothing.
    hashed = pc.fill_null(pc.match_substring_regex(table["sha256"], "^[0-9a-fA-F]{64}$"), False)
    digests = np.zeros((len(table), 2), np.uint64)
    raw = np.frombuffer(bytes.fromhex("".join(table["sha256"].filter(hashed).to_pylist())), np.uint64).reshape(-1, 4)
    hashed = hashed.to_numpy()
    digests[hashed] = raw[:, :2] ^ raw[:, 2:]  # Of all digits: a shorter hash may have been filled up with zeros.
    width, height, size = (
        pc.fill_null(table[name].cast(pa.int64()), 0).to_numpy() for name in ("width", "height", "bytes")
    )
    lossless = pc.match_substring_regex(table["image_path"], _LOSSLESS).to_numpy()
    return table["id"].to_numpy(), width * height, size, lossless, hashed, digests
