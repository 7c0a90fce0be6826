"""What Arrow is kept from doing in the processes of ours."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from shared.errors import CorruptFile
from shared.storage.parquet import least_value, read_table, writer

READER = """
import os, sys
from pathlib import Path
import pyarrow as pa
from shared.pack import listing
from shared.pack.directory import PackDir
from shared.storage.parquet import read_table
before = len(os.listdir("/proc/self/task"))
assert read_table(Path(sys.argv[1]) / "listing.parquet").num_rows == 40_000
assert read_table(Path(sys.argv[1]) / "listing.parquet", ["id", "stem"]).num_columns == 2
assert len(list(listing.read_listing(PackDir(Path(sys.argv[1])), 20_000))) == 20_000
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="only Linux lists the threads of a process")
def test_no_thread_of_arrow_reads_what_a_command_may_end_with(tmp_path: Path) -> None:
    """A thread that lets go of Python's bytes while the interpreter ends aborts the process, once in thirty times."""
    from shared.pack.listing import LISTING_SCHEMA

    rows = {
        "id": pa.array(range(40_000), pa.int64()),
        "image_path": pa.array([f"/photos/{number}.jpg" for number in range(40_000)]),
        "stem": pa.array([str(number) for number in range(40_000)]),
        "suffix": pa.array([".jpg"] * 40_000),
        "member": pa.nulls(40_000, LISTING_SCHEMA.field("member").type),
    }
    table = pa.table([rows[name] for name in LISTING_SCHEMA.names], schema=LISTING_SCHEMA)
    with writer(tmp_path / "listing.parquet", table.schema) as into:
        into.write_table(table, row_group_size=10_000)
    done = subprocess.run([sys.executable, "-c", READER, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_a_column_that_is_not_there_is_said_and_not_left_out(tmp_path: Path) -> None:
    with writer(tmp_path / "a.parquet", pa.schema([("id", pa.int64())])) as into:
        into.write_table(pa.table({"id": [1, 2]}))
    assert read_table(tmp_path / "a.parquet", ["id"]).to_pylist() == [{"id": 1}, {"id": 2}]
    with pytest.raises(CorruptFile, match="it has no column status"):
        read_table(tmp_path / "a.parquet", ["id", "status"])


def test_the_least_value_of_a_column_is_read_from_the_footer(tmp_path: Path) -> None:
    schema = pa.schema([("name", pa.string()), ("id", pa.int64())])
    with writer(tmp_path / "a.parquet", schema) as into:
        for ids in ([7, 9], [3, 8], [5]):
            into.write_table(pa.table({"name": ["x"] * len(ids), "id": ids}, schema))
    assert least_value(tmp_path / "a.parquet", "id") == 3
    with writer(tmp_path / "empty.parquet", schema):
        pass
    for name, column in (("empty", "id"), ("a", "size"), ("gone", "id")):
        with pytest.raises(CorruptFile, match=f"{name}.parquet can't be read"):
            least_value(tmp_path / f"{name}.parquet", column)
