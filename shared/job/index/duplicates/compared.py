"""Pairs of images of a job that are to be compared, and what came of it: a file for each batch of pairs."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from shared.errors import CorruptFile
from shared.job.directory import JobDir
from shared.processes.failpoints import failpoint
from shared.storage import files, parquet

BATCH: Final = 500
"""Pairs in one batch: a kill costs the comparison of at most so many, which is some seconds."""
COMPARED_BY: Final = "rootsift128x170-2 both stored, colours"
"""By which features pairs are compared, as workers name these, and what else is looked at: what was compared otherwise
is compared again."""
_KEY: Final = b"lookalike.compared"
_ASKED: Final = pa.schema([pa.field("query", pa.int64(), nullable=False), pa.field("hit", pa.int64(), nullable=False)])
_SCHEMA: Final = pa.schema(
    [
        *_ASKED,
        ("verdict", pa.string()),
        ("evidence", pa.string()),
        ("unread", pa.string()),
        ("query_sharpness", pa.float32()),
        ("hit_sharpness", pa.float32()),
        ("query_is_grey", pa.bool_()),
        ("hit_is_grey", pa.bool_()),
        ("pixels_alone", pa.bool_()),
    ]
)


class Pair(NamedTuple):
    """Two images by their ids: the `query`, of which more is looked at, and the `hit`."""

    query: int
    hit: int


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of comparing a pair.

    `verdict` and `evidence` (JSON) are as a search gives them, None where nothing was proven. `unread` is why one of
    the two could not be read; then nothing is known. The sharpness of each image is a number that is higher for the
    sharper one of two copies, None where it was not measured. An image is grey that has lost the colours which the
    other one of two copies has. With `pixels_alone` it was not asked whether they show the same picture, only whether
    they have the same pixels.
    """

    pair: Pair
    verdict: str | None = None
    evidence: str | None = None
    unread: str | None = None
    query_sharpness: float | None = None
    hit_sharpness: float | None = None
    query_is_grey: bool = False
    hit_is_grey: bool = False
    pixels_alone: bool = False


def ask(job: JobDir, pairs: Sequence[Pair], attempt: int, *, pixels_alone: bool = False) -> str:
    """Write down the pairs of a batch for the worker that takes it, the `attempt`th time that they are compared.

    With `pixels_alone` it is only asked whether they have the same pixels. Returns the name of the batch, 16 hex
    digits, which is another one for other pairs, another question and each attempt.
    """
    digest = hashlib.sha256(json.dumps([COMPARED_BY, attempt, pixels_alone]).encode())
    digest.update(np.array(pairs, np.int64).tobytes())
    batch = digest.hexdigest()[:16]
    failpoint("ask_pairs")
    if job.asked_pairs(batch).is_file():
        try:
            read_asked(job, batch)
        except CorruptFile:
            job.asked_pairs(batch).unlink(missing_ok=True)
    table = pa.Table.from_pylist([pair._asdict() for pair in pairs], _ASKED.with_metadata(_said(attempt, pixels_alone)))
    _write(job.asked_pairs(batch), table)
    return batch


def read_asked(job: JobDir, batch: str) -> list[Pair]:
    """The pairs of a batch. Raises CorruptFile where they can't be read."""
    table = parquet.read_table(job.asked_pairs(batch), _ASKED.names)
    return [Pair(*both) for both in zip(*(table[name].to_pylist() for name in _ASKED.names), strict=True)]


def asks_for_pixels(job: JobDir, batch: str) -> bool:
    """Whether it is only asked which pairs of a batch have the same pixels. Raises CorruptFile as `read_asked`."""
    return _facts(job.asked_pairs(batch))[1]


def write_compared(job: JobDir, batch: str, found: Iterable[Compared]) -> None:
    """Commit what came of a batch that was asked for; what is there already stays."""
    rows = [
        {"query": one.pair.query, "hit": one.pair.hit}
        | {name: getattr(one, name) for name in _SCHEMA.names[len(_ASKED) :]}
        for one in found
    ]
    schema = _SCHEMA.with_metadata(_said(*_facts(job.asked_pairs(batch))))
    failpoint("commit_compared")
    _write(job.compared_pairs(batch), pa.Table.from_pylist(rows, schema))


def read_compared(path: Path) -> tuple[list[Compared], int]:
    """What came of a batch, and which attempt it was.

    Raises CorruptFile where it can't be read, or the pairs were compared otherwise than this version does.
    """
    attempt, _ = _facts(path)
    rows = parquet.read_table(path, _SCHEMA.names).to_pylist()
    return [Compared(Pair(row.pop("query"), row.pop("hit")), **row) for row in rows], attempt


def is_of_another_version(path: Path) -> bool:
    """Whether pairs were compared otherwise than this version does: no damage, and compared again when they are wanted.

    Raises CorruptFile where the file can't be read.
    """
    try:
        return bool(json.loads((parquet.read_schema(path).metadata or {})[_KEY])["compared_by"] != COMPARED_BY)
    except (KeyError, ValueError, TypeError):
        return False


def _said(attempt: int, pixels_alone: bool) -> dict[bytes, bytes]:
    said = {"compared_by": COMPARED_BY, "attempt": attempt, "pixels_alone": pixels_alone}
    return {_KEY: json.dumps(said).encode()}


def _facts(path: Path) -> tuple[int, bool]:
    """Which attempt the pairs in a file are, and whether only their pixels are asked for."""
    try:
        facts = json.loads((parquet.read_schema(path).metadata or {})[_KEY])
        if facts["compared_by"] != COMPARED_BY:
            raise ValueError(f"they are compared as by {facts['compared_by']}")
        return int(facts["attempt"]), bool(facts["pixels_alone"])
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptFile(f"{path} does not hold pairs as this version compares them ({error}).") from None


def _write(path: Path, table: pa.Table) -> None:
    with files.written_aside(path, keep_first=True) as aside, parquet.writer(aside, table.schema) as into:
        into.write_table(table)
