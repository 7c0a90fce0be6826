"""Write and read the path list: the id and place of each image, in one Parquet file for each partition."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import CorruptFile
from shared.images.location import Location
from shared.images.members import Member
from shared.job.changes.log import Ids
from shared.job.directory import JobDir
from shared.job.manifest import Partition
from shared.job.opened import OpenJob
from shared.job.source.moved import Moved, read_moved
from shared.storage import files, parquet
from shared.storage.parquet import read_table
from shared.text import text_of

PATHS_SCHEMA = pa.schema([("id", pa.int64()), ("image_path", pa.string())])
MEMBER = pa.field(
    "member",
    pa.struct(
        [("offset", pa.int64()), ("stored", pa.int64()), ("size", pa.int64()), ("method", pa.int32()),
         ("crc32", pa.int64()), ("ahead", pa.int32())]
    ),
)  # fmt: skip
"""The column with the place of each image in its archive, if images are in archives."""
_BEFORE_AHEAD = pa.field(MEMBER.name, pa.struct(list(MEMBER.type)[:-1]))
"""The form of that column in earlier versions, which wrote jobs of the same format."""


def write_paths(
    job: JobDir,
    partition: Partition,
    paths: Sequence[str],
    members: Sequence[Member | None] = (),
    known: Mapping[str, pa.Array] | None = None,
) -> None:
    """Write a partition's part of the path list: id, image_path, and for images in archives their place.

    `members` has an entry for each path, or none at all. `known` are columns of source metadata, which the seal puts
    into the metadata; numbers may be there as the text that they were written as.
    """
    columns: dict[str, pa.Array] = {
        "id": pa.array(range(partition.start, partition.stop), pa.int64()),
        "image_path": pa.array(paths, pa.string()),
    }
    if any(members):
        columns[MEMBER.name] = pa.array([None if member is None else asdict(member) for member in members], MEMBER.type)
    table = pa.table(columns | dict(known or {}))
    with files.written_aside(job.paths(partition.number)) as aside, parquet.writer(aside, table.schema) as into:
        into.write_table(table)


def lists_paths(schema: pa.Schema) -> bool:
    """Whether a table has the columns that every path list has."""
    return bool(pa.schema(list(schema)[: len(PATHS_SCHEMA)]).equals(PATHS_SCHEMA))


def read_paths(job: JobDir, partition: Partition) -> list[str]:
    """The image paths of a partition in the order of their ids; raises CorruptFile when they are not all there."""
    paths: list[str] = _read(job, partition)["image_path"].to_pylist()
    return paths


def find_paths(job: OpenJob, paths: Collection[str]) -> dict[str, int]:
    """The first id of each of `paths` that an image of the job is listed as which was not removed.

    Raises CorruptFile as `read_paths`.
    """
    wanted, found = pa.array(list(paths), pa.string()), dict[str, int]()
    for partition in job.partitions:
        table = _read(job, partition, PATHS_SCHEMA.names)
        named = table.filter(pc.is_in(table["image_path"], wanted))
        for image_id, path in zip(named["id"].to_pylist(), named["image_path"].to_pylist(), strict=True):
            if not job.state.is_removed(image_id):
                found.setdefault(path, image_id)
    return found


def read_locations(job: JobDir, partition: Partition, moved: Moved | None = None) -> list[Location]:
    """The locations of the images of a partition, in the order of their ids; raises CorruptFile as `read_paths`.

    `moved` is where their source moved; by default it is read from the job.
    """
    table = _read(job, partition)
    paths = table["image_path"].to_pylist()
    moved = read_moved(job) if moved is None else moved
    found = table.schema.field(MEMBER.name) if MEMBER.name in table.schema.names else None
    if found is None or not (found.equals(MEMBER) or found.equals(_BEFORE_AHEAD)):
        return [_location(path, None, moved) for path in paths]
    children = table[MEMBER.name].combine_chunks()
    present = children.is_valid().to_pylist()
    named = fields(Member)[: found.type.num_fields]
    values = zip(*(children.field(field.name).to_pylist() for field in named), strict=True)
    return [
        _location(path, Member(*value) if there else None, moved)
        for path, value, there in zip(paths, values, present, strict=True)
    ]


def read_location(job: JobDir, partition: Partition, image_id: int) -> Location:
    """The location of one image of a partition; raises CorruptFile as `read_paths`.

    Those of all are objects for Python to make: of 50,000 images that takes a hundred times as long.
    """
    table = _read(job, partition)
    row = image_id - partition.start
    path: str = table["image_path"][row].as_py()
    return _location(path, _members(table, partition).of(image_id), read_moved(job))


class Members:
    """The places in their archives of the images of a partition, asked for one image at a time."""

    def __init__(self, start: int, column: pa.StructArray | None) -> None:
        self._start, self._column = start, column
        self.nbytes: int = 0 if column is None else column.nbytes

    def of(self, image_id: int) -> Member | None:
        """The place of an image of the partition; None where it is in no archive, or the job does not know it."""
        value = None if self._column is None else self._column[image_id - self._start].as_py()
        return None if value is None else Member(**value)


def read_members(job: JobDir, partition: Partition) -> Members:
    """The places of the images of a partition in their archives; raises CorruptFile as `read_paths`."""
    return _members(_read(job, partition), partition)


def _members(table: pa.Table, partition: Partition) -> Members:
    found = table.schema.field(MEMBER.name) if MEMBER.name in table.schema.names else None
    if found is None or not (found.equals(MEMBER) or found.equals(_BEFORE_AHEAD)):
        return Members(partition.start, None)
    return Members(partition.start, table[MEMBER.name].combine_chunks())


def _location(path: str, member: Member | None, moved: Moved) -> Location:
    now = moved.now(path)
    return Location(path, member, None if now == path else now)


def read_known(job: OpenJob, partition: Partition) -> pa.Table:
    """The source metadata of a partition, in the columns of the manifest; null if the source says nothing.

    Raises CorruptFile as `read_paths`, also when a column holds what can't be of its type.
    """
    table = _read(job, partition)
    columns = {}
    for field in job.manifest.source.known_schema:
        if field.name not in table.schema.names:
            columns[field.name] = pa.nulls(len(table), field.type)
            continue
        try:
            columns[field.name] = _as(table[field.name], field.type)
        except pa.ArrowException as error:
            raise CorruptFile(
                f"{job.paths(partition.number)} has a column {field.name} that is no {field.type} ({error}): restore "
                "it from a copy."
            ) from None
    return pa.table(columns, schema=job.manifest.source.known_schema)


def write_joined(job: OpenJob, partition: Partition, former: Sequence[Partition], gone: Ids) -> None:
    """Write the path list of a partition that is to take the place of its neighbours `former`.

    Of the images `gone`, int64 ascending, only the ids are left, with an empty path. Raises CorruptFile as `read_paths`
    does.
    """
    tables = []
    for one in former:
        table = _read(job, one)
        columns = {name: table[name] for name in PATHS_SCHEMA.names}
        if MEMBER.name in table.schema.names:
            columns[MEMBER.name] = _with_ahead(table[MEMBER.name])
        known = read_known(job, one)
        tables.append(pa.table(columns | {name: known[name] for name in known.schema.names}))
    table = pa.concat_tables(tables, promote_options="default")
    empty = np.isin(table["id"].to_numpy(), gone)
    rows = pa.array(np.arange(len(table)), mask=empty)  # What is taken from nowhere is null.
    columns = {name: table[name] if name == "id" else table[name].take(rows) for name in table.schema.names}
    columns["image_path"] = columns["image_path"].fill_null("")
    table = pa.table(columns, schema=table.schema)
    with files.written_aside(job.paths(partition.number)) as aside, parquet.writer(aside, table.schema) as into:
        into.write_table(table)


def _with_ahead(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of members as it is written today."""
    if not column.type.equals(_BEFORE_AHEAD.type):
        return column
    array = column.combine_chunks()
    children = [array.field(place) for place in range(column.type.num_fields)]
    ahead = pa.nulls(len(array), MEMBER.type.field(column.type.num_fields).type)
    return pa.chunked_array(
        [pa.StructArray.from_arrays([*children, ahead], fields=list(MEMBER.type), mask=array.is_null())]
    )


def _as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """A column as it was known in its partition, in the type that holds those of all partitions."""
    if pa.types.is_string(kind) and not pa.types.is_string(column.type):
        # This is not Arrow's text: a value must read the same whichever partition it is in.
        return pa.array([None if value is None else text_of(value) for value in column.to_pylist()], kind)
    return column.cast(kind, safe=False)


def _read(job: JobDir, partition: Partition, columns: list[str] | None = None) -> pa.Table:
    path = job.paths(partition.number)
    try:
        table = read_table(path, columns)
    except CorruptFile as error:
        raise CorruptFile(f"{error} It lists a partition's images: restore it.") from None
    expected = np.arange(partition.start, partition.stop)
    if not lists_paths(table.schema) or not np.array_equal(table["id"].to_numpy(), expected):
        raise CorruptFile(
            f"{path} does not hold the ids {partition.start} to {partition.stop - 1} in order: restore it."
        )
    return table
