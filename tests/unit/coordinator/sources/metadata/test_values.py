"""Values of lists, sidecars and Parquet files: kept exactly, as text where no type holds them, whatever they are."""

import datetime
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coordinator.jobs.create import make_or_open
from coordinator.sources.metadata.columns import MetadataColumns
from coordinator.sources.metadata.json_values import values_of
from coordinator.sources.metadata.numbers import as_number
from shared.errors import SourceError
from shared.job import path_list
from shared.job.directory import JobDir
from shared.settings import Settings
from tests.support.images.forms import write_tar


def known_of(source: Path, job: Path, partition_size: int) -> tuple[dict[str, str], dict[str, list[Any]]]:
    """The types and values of the known columns of a job, as the seals get them."""
    directory = JobDir(job)
    opened = make_or_open(str(source), directory, Settings(partition_size=partition_size), lambda count: None)
    tables = [path_list.read_known(opened, partition) for partition in opened.partitions]
    return dict(opened.manifest.source.known), pa.concat_tables(tables).to_pydict()


def of_column(folder: Path, texts: list[str], partition_size: int) -> tuple[str, list[Any]]:
    """What becomes of one column of a CSV file."""
    path = folder / "list.csv"
    path.write_text("path,v\n" + "".join(f"{number}.jpg,{text}\n" for number, text in enumerate(texts)))
    types, values = known_of(path, folder / f"job{partition_size}", partition_size)
    return types["v"], values["v"]


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize(
    "texts",
    [
        ["1790000000000000001", "1790000000000000002", "99999999999999999999"],
        ["1.10", "1.9", "2.0b", "1"],
        ["1e5", "ff", "4e999", "0a"],
        ["1.50", "2", "free", "3"],
        ["007", "7", "+5", "-0", "00.5"],
        ["1", "2.5", "9007199254740993"],
        ["9223372036854775808", "-9223372036854775809"],
        ["0.5", "1e-999"],
        ["3.14159265358979323846", "2.5"],
        ["1790000000000000001.0", "1790000000000000002.0"],
        ["1.0", "nan"],
        ["-inf", "1.10"],
        ["1" * 5000, "2"],
    ],
)
def test_a_column_that_no_number_holds_keeps_the_text_as_written(tmp_path: Path, texts: list[str], size: int) -> None:
    assert of_column(tmp_path, texts, size) == ("string", texts)


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (["1790000000000000001", "-9223372036854775808", "9223372036854775807"], "int64",
         [1790000000000000001, -(1 << 63), (1 << 63) - 1]),
        (["1.10", "2", "-0", "1e5", "9007199254740992"], "double", [1.1, 2.0, -0.0, 1e5, 2.0**53]),
        (["0.1000000000000000055511151231257827", "1.000000000000000056e-01", "5e-324"], "double", [0.1, 0.1, 5e-324]),
        (["0", "-7", ""], "int64", [0, -7, None]),
    ],
)  # fmt: skip
def test_a_column_of_numbers_is_one_where_each_is_held_exactly(
    tmp_path: Path, texts: list[str], kind: str, values: list[Any], size: int
) -> None:
    assert repr(of_column(tmp_path, texts, size)) == repr((kind, values))


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(1 << 80), 1 << 80)))
def test_a_number_that_python_writes_comes_back_as_it_is_or_stays_text(value: float) -> None:
    found = as_number(repr(value))
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        assert found is None
    else:
        assert found == value


@given(st.from_regex(r"-?[0-9]{0,30}(\.[0-9]{0,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True))
@example("1e-99999999999999999999")
@example("1e99999999999999999999")
@example("0e5")
def test_a_number_has_the_value_of_its_text_to_all_its_digits(text: str) -> None:
    found = as_number(text)
    if isinstance(found, int):
        assert str(found) == text
    elif found is not None:
        assert found.text == text
        digits = len(text.lower().split("e")[0].lstrip("-").replace(".", "").lstrip("0"))
        held = Decimal(repr(float(text))), Decimal(f"{float(text):.{max(0, digits - 1)}e}")
        assert not digits or Decimal(text) in held
        assert math.isfinite(found)


@pytest.mark.parametrize(
    ("document", "values"),
    [
        ('{"a": 9007199254740993, "b": 1.10}', {"a": 9007199254740993, "b": 1.1}),
        ('{"a": 123456789012345678901234567890}', {"a": "123456789012345678901234567890"}),
        ('{"a": NaN, "b": -Infinity, "c": 4e999}', {"a": "NaN", "b": "-Infinity", "c": "4e999"}),
        ('{"a": {"x": [1.10, 4e999, "\u00e9", true, null]}, "b": []}',
         {"a": '{"x": [1.10, 4e999, "\u00e9", true, null]}', "b": "[]"}),
        ('{"a": {"k": 1, "k": 2}}', {"a": '{"k": 1, "k": 2}'}),
        ('{"a": ' + "9" * 5000 + "}", {"a": "9" * 5000}),
        ('{"a": 1, "a": 2}', None),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", None),
        ("[1, 2]", None), ("[]", None), ("1.5", None), ("{broken", None), ("", None), ("{}", {}),
    ],
)  # fmt: skip
def test_json_gives_the_values_of_one_object_or_none(document: str, values: dict[str, Any] | None) -> None:
    assert values_of(document) == values


@pytest.mark.parametrize("depth", [10, 400, 900, 980, 3_000, 50_000])
def test_json_of_any_depth_is_text_and_never_a_traceback(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    assert values_of(f'{{"a": {nested}}}') in ({"a": nested}, None)


@pytest.mark.parametrize("size", [1, 100])
def test_sidecars_keep_what_their_documents_say(tmp_path: Path, size: int) -> None:
    documents = [
        '{"phash": 9007199254740993, "big": 18446744073709551615, "half": "\\ud800x", "v": 1.10, "once": 1}',
        '{"phash": 0.5, "big": 1, "half": "y", "v": "free", "once": 2}',
        '{"phash": 1e2, "big": null, "half": null, "v": {"a": 1.10}, "once": 3, "\\udc80": 1}',
        '{"once": 4, "once": 5}',
    ]
    files = {}
    for row, document in enumerate(documents):
        files |= {f"{row}.jpg": b"x", f"{row}.json": document.encode()}
    types, values = known_of(write_tar(tmp_path / "x.tar", files), tmp_path / "job", size)
    assert types == {"phash": "string", "big": "string", "half": "string", "v": "string", "once": "int64",
                     "\\udc80": "int64", "json": "string"}  # fmt: skip
    assert values == {
        "phash": ["9007199254740993", "0.5", "1e2", None],
        "big": ["18446744073709551615", "1", None, None],
        "half": ["\\ud800x", "y", None, None],
        "v": ["1.10", "free", '{"a": 1.10}', None],
        "once": [1, 2, 3, None],
        "\\udc80": [None, None, 1, None],
        "json": [None, None, None, documents[3]],
    }


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from("abc\ud800"), _JSON), min_size=1, max_size=5))
def test_no_json_object_breaks_the_columns(rows: list[dict[str, Any]]) -> None:
    known, parts = MetadataColumns(), []
    for row in rows:
        values = values_of(json.dumps(row))
        assert values is not None
        parts.append((row, known.arrays([values])))
    for row, arrays in parts:
        pa.table(arrays)
        for key, value in row.items():
            column = key.encode("utf-8", "backslashreplace").decode()
            if isinstance(value, int | float) and not isinstance(value, bool):
                held = arrays[column].cast(
                    {"int64": pa.int64(), "double": pa.float64()}.get(known.types[column], pa.string())
                )
                assert held.to_pylist() == [value] or str(held[0]) == json.dumps(value)  # fmt: skip


# Parquet

_FAR = 1 << 50
PARQUET: dict[str, tuple[pa.Array, str, list[Any]]] = {
    "uint64": (pa.array([(1 << 64) - 1, 1, None], pa.uint64()), "string", ["18446744073709551615", "1", None]),
    "small-uint64": (pa.array([1, 2, None], pa.uint64()), "int64", [1, 2, None]),
    "decimal128": (pa.array([Decimal("1.10"), Decimal("0.00"), None], pa.decimal128(38, 2)), "string",
                   ["1.10", "0.00", None]),
    "decimal256": (pa.array([Decimal("9" * 60), Decimal(0), None], pa.decimal256(70, 0)), "string",
                   ["9" * 60, "0", None]),
    "tiny-decimal": (pa.array([Decimal("0E-10"), None, None], pa.decimal128(20, 10)), "string",
                     ["0.0000000000", None, None]),
    "half": (pa.array([1.5, 0.25, None], pa.float16()), "double", [1.5, 0.25, None]),
    "single": (pa.array([0.1, None, None], pa.float32()), "double", [0.10000000149011612, None, None]),
    "infinite": (pa.array([math.inf, -1.0, None]), "double", [math.inf, -1.0, None]),
    "time": (pa.array([1, 3_600_000_000_001, None], pa.time64("ns")), "string",
             ["00:00:00.000000001", "01:00:00.000000001", None]),
    "dictionary": (pa.array(["a", "b", None]).dictionary_encode(), "string", ["a", "b", None]),
    "large": (pa.array(["a", "b", None], pa.large_string()), "string", ["a", "b", None]),
    "date": (pa.array([0, 2_932_896, None], pa.date32()), "date",
             [datetime.date(1970, 1, 1), datetime.date(9999, 12, 31), None]),
    "far-date": (pa.array([0, 2_932_897, None], pa.date32()), "string", ["1970-01-01", "10000-01-01", None]),
    "timestamp": (pa.array([0, 1_500, None], pa.timestamp("ms")), "timestamp",
                  [datetime.datetime(1970, 1, 1), datetime.datetime(1970, 1, 1, 0, 0, 1, 500_000), None]),
    "whole-nanoseconds": (pa.array([1_000, -1_000, None], pa.timestamp("ns")), "timestamp",
                          [datetime.datetime(1970, 1, 1, 0, 0, 0, 1),
                           datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999), None]),
    "nanoseconds": (pa.array([1, 1_000_000_000, None], pa.timestamp("ns")), "string",
                    ["1970-01-01T00:00:00.000000001", "1970-01-01T00:00:01", None]),
    "far-timestamp": (pa.array([0, 253_402_300_800_000, None], pa.timestamp("ms")), "string",
                      ["1970-01-01T00:00:00", "10000-01-01T00:00:00.000", None]),
    "zone": (pa.array([0, 1, None], pa.timestamp("us", "Europe/Berlin")), "string",
             ["1970-01-01T01:00:00+01:00", "1970-01-01T01:00:00.000001+01:00", None]),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize("name", PARQUET)
def test_each_type_of_parquet_is_held_exactly_or_as_text(tmp_path: Path, name: str, size: int) -> None:
    array, kind, values = PARQUET[name]
    pq.write_table(pa.table({"path": ["a.jpg", "b.jpg", "c.jpg"], "v": array}), tmp_path / "list.parquet")
    types, found = known_of(tmp_path / "list.parquet", tmp_path / "job", size)
    assert (types, found["v"]) == ({"v": kind}, values)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([-(1 << 31), (1 << 31) - 1], pa.date32()),
        pa.array([_FAR * 1_000, -_FAR], pa.timestamp("us")),
        pa.array([-(1 << 63), (1 << 63) - 1], pa.timestamp("ms")),
        pa.array([-(1 << 62), (1 << 62)], pa.timestamp("us", "America/New_York")),
        pa.array([0, 1], pa.timestamp("us", "Nowhere/Atall")),
        pa.array([-62_135_596_800_000_000, 253_402_300_799_999_999], pa.timestamp("us", "Asia/Tokyo")),
    ],
    ids=["days", "years", "ages", "ages-of-a-zone", "no-zone", "both-ends"],
)
@pytest.mark.parametrize("column", ["path", "image"])
def test_times_out_of_the_range_of_python_are_text(tmp_path: Path, array: pa.Array, column: str) -> None:
    images = [b"a", b"b"] if column == "image" else ["a.jpg", "b.jpg"]
    pq.write_table(pa.table({column: images, "v": array}), tmp_path / "x.parquet", version="2.6")
    types, values = known_of(tmp_path / "x.parquet", tmp_path / "job", 100)
    assert types == {"v": "string"}
    assert len(set(values["v"])) == 2
    assert None not in values["v"]


@pytest.mark.parametrize("column", ["path", "image"])
def test_two_columns_of_one_name_are_a_sentence(tmp_path: Path, column: str) -> None:
    images = pa.array([b"a"] if column == "image" else ["a.jpg"])
    for twice in ("score", column):
        table = pa.Table.from_arrays(
            [images, images, pa.array([1]), pa.array([2])], names=[column, twice, "score", "b"]
        )
        pq.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(
            SourceError, match=f"x.parquet has two columns named '{twice}': give each a name of its own"
        ):
            known_of(tmp_path / "x.parquet", tmp_path / "job", 100)
        assert not (tmp_path / "job").exists()


def test_what_is_no_plain_value_is_named_and_left_out(tmp_path: Path) -> None:
    table = pa.table(
        {
            "path": ["a.jpg"],
            "took": pa.array([5], pa.duration("s")),
            "nothing": pa.nulls(1),
            "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
            "label": ["cat"],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    directory = JobDir(tmp_path / "job")
    job = make_or_open(str(tmp_path / "x.parquet"), directory, Settings(), lambda count: None)
    assert job.manifest.source.known == {"label": "string"}
    left_out = [reason.partition("<")[0] for reason in job.manifest.source.left_out]
    assert left_out == ["column map of map", "column nothing of null", "column took of duration[s]"]


def test_a_header_that_is_no_utf8_names_its_columns(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"path,stra\xdfe\na.jpg,x\n")
    assert known_of(tmp_path / "list.csv", tmp_path / "job", 9)[1] == {"stra\ufffde": ["x"]}
