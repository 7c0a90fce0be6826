"""The neighbours of the images of a job, as its index gives them: one file for each partition that was asked for."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.errors import CorruptFile
from shared.job.changes.log import Ids
from shared.job.directory import JobDir
from shared.job.index.builds import facts_of
from shared.job.partition.ledger import Seal
from shared.processes.failpoints import failpoint
from shared.storage import files, parquet

NEIGHBOURS: Final = 10
"""How many neighbours of an image are kept at most; images of equal embeddings count as one."""
LEAST: Final = 0.5
"""The cosine similarity below which an image is no neighbour."""
_PARAMETERS: Final = {"version": 1, "neighbours": NEIGHBOURS, "least": LEAST}
_KEY: Final = b"lookalike.neighbours"

SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("embedding", pa.binary(16), nullable=False),
        pa.field("neighbours", pa.list_(pa.int64()), nullable=False),
        pa.field("similarities", pa.list_(pa.float32()), nullable=False),
    ]
)

Digests = npt.NDArray[np.uint64]
"""128 bits of the BLAKE2 of each embedding, uint64 [n, 2]: images whose embeddings are equal have equal ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """What was asked of some images: `ids` int64 [n] ascending, their `digests`, uint64 [n, 2], and their pairs.

    Pair p says that the image `sources[p]` has the neighbour `targets[p]`, both int64 ids, at `similarities[p]`,
    float32 cosine. An image has none if another one of the same digest stands for it.
    """

    ids: Ids
    digests: Digests
    sources: Ids
    targets: Ids
    similarities: npt.NDArray[np.float32]


def neighbours_file(job: JobDir, seal: Seal) -> Path:
    """The file of the neighbours of a sealed partition: another one for other embeddings, or other parameters."""
    facts = facts_of(seal).line + json.dumps(_PARAMETERS, sort_keys=True).encode()
    return job.neighbours(seal.partition, hashlib.sha256(facts).hexdigest())


def write_neighbours(path: Path, found: Neighbours, build: str) -> None:
    """Commit the neighbours of a partition, as the index `build` gave them; what is there already stays."""
    counts = np.searchsorted(found.sources, found.ids, "right") - np.searchsorted(found.sources, found.ids)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    schema = SCHEMA.with_metadata({_KEY: json.dumps(_PARAMETERS | {"build": build}).encode()})
    digests = np.ascontiguousarray(found.digests)
    table = pa.table(
        [
            pa.array(found.ids, pa.int64()),
            pa.Array.from_buffers(pa.binary(16), len(digests), [None, pa.py_buffer(digests.tobytes())]),
            pa.ListArray.from_arrays(offsets, pa.array(found.targets, pa.int64())),
            pa.ListArray.from_arrays(offsets, pa.array(found.similarities, pa.float32())),
        ],
        schema=schema,
    )
    failpoint("commit_neighbours")
    with files.written_aside(path, keep_first=True) as aside, parquet.writer(aside, schema) as into:
        into.write_table(table)


def read_neighbours(path: Path) -> Neighbours:
    """Read what `write_neighbours` wrote. Raises CorruptFile for anything else, and OSError as the disk gives it."""
    table = _columns(path, SCHEMA.names)
    found, similarities = table["neighbours"].combine_chunks(), table["similarities"].combine_chunks()
    ids: Ids = table["id"].to_numpy()
    counts = np.diff(found.offsets.to_numpy())
    if not np.all(np.diff(ids) > 0) or not found.offsets.equals(similarities.offsets):
        raise CorruptFile(f"{path} does not hold the neighbours of each image once, in the order of the ids.")
    digests = table["embedding"].combine_chunks()
    raw = np.empty((0, 2), np.uint64)
    if len(digests):
        raw = np.frombuffer(digests.buffers()[1], np.uint64).reshape(-1, 2)
        raw = raw[digests.offset : digests.offset + len(digests)]
    return Neighbours(ids, raw, np.repeat(ids, counts), found.flatten().to_numpy(), similarities.flatten().to_numpy())


def firsts(digests: Digests) -> npt.NDArray[np.int64]:
    """The place of the first embedding that is equal to each, int64 [n]: its own where none before it is."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # Stable: of equal ones the first comes first.
    ordered = digests[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    found = np.empty(len(order), np.int64)
    found[order] = order[np.flatnonzero(begins)][np.cumsum(begins) - 1]
    return found


def asked_ids(path: Path) -> Ids:
    """The ids, int64 ascending, of the images whose neighbours a file holds; raises as `read_neighbours`."""
    ids: Ids = _columns(path, ["id"])["id"].to_numpy()
    return ids


def _columns(path: Path, names: Sequence[str]) -> pa.Table:
    try:
        schema = parquet.read_schema(path)
        parameters = json.loads((schema.metadata or {})[_KEY])
        if schema.remove_metadata() != SCHEMA or {key: parameters[key] for key in _PARAMETERS} != _PARAMETERS:
            raise ValueError("it is of another version")
        return parquet.read_table(path, list(names))
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptFile(f"{path} does not hold neighbours as this version writes them ({error}).") from None


def readable(paths: Sequence[Path], *, whole: bool = True) -> Iterator[tuple[Path, Ids]]:
    """Those of `paths` that hold neighbours as this version writes them, and the ids in each.

    What is damaged or of another version counts as not there: what it said is asked again. Unless the `whole` file is
    asked for, only its ids are read.
    """
    for path in paths:
        try:
            yield path, read_neighbours(path).ids if whole else asked_ids(path)
        except CorruptFile:
            continue
