"""Write and read the tables of a pack: what is to be packed under which name, and what became of each image."""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from shared.errors import CorruptFile, PackError
from shared.job.partition.sealing import ERRORS_SCHEMA
from shared.pack.directory import PackDir, PackSpec
from shared.storage import files, parquet

PACK_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("image_path", pa.string(), nullable=False),
        pa.field("tar", pa.string(), nullable=False),
        pa.field("member", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("resized", pa.bool_(), nullable=False),
    ]
)
BLOCK_SCHEMA = pa.schema(
    [pa.field(field.name, field.type) for field in PACK_SCHEMA]
    + [("status", pa.string()), ("error_message", pa.string())]
)
_SUMMARY_KEY = b"lookalike.pack"


@dataclass(frozen=True, slots=True)
class PackRow:
    """What became of one image: with the status "ok" it is a member of a tar; otherwise `error_message` says why
    not.
    """

    id: int
    image_path: str
    tar: str | None
    member: str | None
    bytes: int | None
    sha256: str | None
    resized: bool | None
    status: str
    error_message: str | None


@dataclass(frozen=True, slots=True)
class Block:
    """The images [start, stop) that were packed at once: `packed` of them in one tar, None where all failed.

    `tar_bytes` is the size of the tar, `bytes` that of the images in it.
    """

    number: int
    start: int
    stop: int
    tar: str | None
    tar_bytes: int
    bytes: int
    packed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Packed:
    """A whole pack: how many images are packed and how many failed, and the bytes of each tar."""

    packed: int
    failed: int
    tars: dict[str, int]


def commit_block(directory: PackDir, block: Block, rows: Sequence[PackRow]) -> None:
    """Write what became of the images of a block, once its tar is there: after this they are packed for good."""
    if [row.id for row in rows] != list(range(block.start, block.stop)):
        raise ValueError(f"{block} needs each of its ids once, in order.")
    if block.packed + block.failed != len(rows) or block.packed != sum(row.status == "ok" for row in rows):
        raise ValueError(f"{block} does not count its rows as they are.")
    columns = {name: [getattr(row, name) for row in rows] for name in BLOCK_SCHEMA.names}
    table = pa.table(columns, schema=BLOCK_SCHEMA)
    with files.written_aside(directory.block(block.number)) as aside:
        _write(aside, table, json.dumps(asdict(block)))


def committed_blocks(directory: PackDir, spec: PackSpec) -> list[Block]:
    """The blocks that are packed, in order, from their footers; PackError when they or their tars are damaged.

    The last one does not count if it can't be read: a kill may have cut it off, on a mount that renames by copying.
    """
    blocks: list[Block] = []
    paths = list(directory.blocks())
    for path in paths:
        block = _summary(path)
        if block is None and path == paths[-1]:
            break
        if (
            block is None
            or (block.number, block.start) != (len(blocks), blocks[-1].stop if blocks else 0)
            or block.stop > spec.listed
        ):
            raise _damaged(path)
        blocks.append(block)
    require_tars(directory, {block.tar: block.tar_bytes for block in blocks if block.tar is not None})
    return blocks


def _summary(path: Path) -> Block | None:
    try:
        return Block(**json.loads(parquet.read_schema(path).metadata[_SUMMARY_KEY]))
    except (CorruptFile, KeyError, TypeError, ValueError):
        return None


def done(directory: PackDir, spec: PackSpec) -> int:
    """How many of the listed images are packed for good, or have failed."""
    if read_whole(directory) is not None:
        return spec.listed
    last = deque(directory.blocks(), 2)
    return next((block.stop for path in reversed(last) if (block := _summary(path)) is not None), 0)


def require_tars(directory: PackDir, tars: dict[str, int]) -> None:
    """Raise PackError unless each tar of a pack has the bytes that were written."""
    for name, written in tars.items():
        path = directory.tar(name)
        try:
            found = path.stat().st_size
        except FileNotFoundError:
            raise PackError(
                f"{path} was packed and is not there: put it back, or pack into another directory."
            ) from None
        if found != written:
            raise PackError(
                f"{path} has {found:,} bytes, and {written:,} were packed: put back the one that was written, or pack "
                "into another directory."
            )


def read_block(directory: PackDir, block: Block) -> pa.Table:
    """The rows of a block, each page checked; PackError when they are not all there."""
    path = directory.block(block.number)
    try:
        table = parquet.read_table(path)
    except CorruptFile:
        raise _damaged(path) from None
    if not np.array_equal(table["id"].to_numpy(), np.arange(block.start, block.stop)):
        raise _damaged(path)
    return table


def _damaged(path: Path) -> PackError:
    return PackError(
        f"{path} is damaged, or belongs to another pack: remove it and those after it, and the same command packs "
        "their images again."
    )


def join(directory: PackDir, spec: PackSpec, blocks: Sequence[Block]) -> Packed:
    """Join the blocks of a pack, all of whose images are packed or failed, into errors.parquet and then pack.parquet.

    Raises PackError when packed and failed images do not make up those that were listed.
    """
    packed, failed = sum(block.packed for block in blocks), sum(block.failed for block in blocks)
    stop = blocks[-1].stop if blocks else 0
    if packed + failed != spec.listed or stop != spec.listed:
        raise PackError(
            f"{packed:,} images packed and {failed:,} failed are not the {spec.listed:,} listed in {directory.path}: "
            "this is a fault of lookalike's own; keep the directory and report it."
        )
    whole = Packed(packed, failed, {block.tar: block.tar_bytes for block in blocks if block.tar is not None})
    told = PACK_SCHEMA.with_metadata({_SUMMARY_KEY: json.dumps(asdict(whole))})
    with (
        files.written_aside(directory.table) as aside,
        files.written_aside(directory.errors) as errors_aside,  # It is finished first, so it appears first.
        parquet.writer(aside, told) as table,
        parquet.writer(errors_aside, ERRORS_SCHEMA) as errors,
    ):
        for block in blocks:
            rows = read_block(directory, block)
            ok = rows["status"].to_numpy(zero_copy_only=False) == "ok"
            if (int(ok.sum()), int((~ok).sum())) != (block.packed, block.failed):
                raise _damaged(directory.block(block.number))
            table.write_table(rows.filter(pa.array(ok)).select(PACK_SCHEMA.names).cast(told))
            errors.write_table(rows.filter(pa.array(~ok)).select(ERRORS_SCHEMA.names).cast(ERRORS_SCHEMA))
    return whole


def read_whole(directory: PackDir) -> Packed | None:
    """The totals of a pack, from the footer of pack.parquet; None while it is not whole.

    Raises PackError when it can't be read and the blocks that it was joined from are gone.
    """
    if not directory.table.is_file():
        return None
    try:
        return Packed(**json.loads(parquet.read_schema(directory.table).metadata[_SUMMARY_KEY]))
    except (CorruptFile, KeyError, TypeError, ValueError):
        if directory.block(0).is_file():  # It is joined again.
            return None
        raise PackError(
            f"{directory.table} can't be read: restore it from a copy, or pack into another directory."
        ) from None


def _write(aside: Path, table: pa.Table, told: str) -> None:
    with parquet.writer(aside, table.schema.with_metadata({_SUMMARY_KEY: told})) as into:
        into.write_table(table)
