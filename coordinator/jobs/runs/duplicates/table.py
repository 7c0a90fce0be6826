"""Write groups of duplicates as a Parquet table, a row for each image."""

import json
from pathlib import Path
from typing import Final

import pyarrow as pa

from coordinator.jobs.runs.duplicates.found import Found
from shared.storage import files, parquet

SCHEMA: Final = pa.schema(
    [
        pa.field("group", pa.int64(), nullable=False),
        pa.field("id", pa.int64(), nullable=False),
        pa.field("image_path", pa.string(), nullable=False),
        pa.field("keep", pa.bool_(), nullable=False),
        ("verdict", pa.string()),
        ("similarity", pa.float32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int64()),
        pa.field("shows_more", pa.bool_(), nullable=False),
        pa.field("is_finer", pa.bool_(), nullable=False),
        ("evidence", pa.string()),
        ("reason", pa.string()),
    ]
)


def write_table(path: Path, found: Found) -> None:
    """Write a row for each image of each group, the groups counted from 1, the image to be kept first in its group.

    `evidence` is JSON, and `reason` is only of the image to be kept. Raises OSError as the file system gives it.
    """
    rows = [
        {
            **member.to_json(),
            "group": number,
            "keep": member is group.kept,
            "evidence": None if member.evidence is None else json.dumps(member.evidence.to_json()),
            "reason": group.reason if member is group.kept else None,
        }
        for number, group in enumerate(found.groups, start=1)
        for member in group.members
    ]
    with files.written_aside(path) as aside, parquet.writer(aside, SCHEMA) as into:
        into.write_table(pa.Table.from_pylist(rows, SCHEMA))
