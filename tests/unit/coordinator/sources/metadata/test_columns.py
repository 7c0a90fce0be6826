"""What a source says of its images, as columns: of one type each, by names that are free, with nothing lost."""

import datetime

import pyarrow as pa
import pytest

from coordinator.sources.metadata.columns import MetadataColumns, SettledColumns
from coordinator.sources.metadata.numbers import as_number
from shared.errors import SourceError


def columns(*rows: dict) -> tuple[dict[str, list], dict[str, str]]:
    known = MetadataColumns()
    arrays = known.arrays(rows)
    return {name: array.to_pylist() for name, array in arrays.items()}, known.types


def test_a_column_has_the_narrowest_type_that_holds_all_of_it() -> None:
    day, moment = datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 3, 4, 5)
    found, types = columns(
        {"i": 1, "f": 1, "b": True, "s": "x", "d": day, "t": moment, "big": 1 << 63, "mix": 1, "flag": True, "n": None},
        {"i": -2, "f": 0.5, "b": False, "s": None, "d": None, "t": moment, "big": 1, "mix": "x", "flag": 1},
    )
    assert types == {"i": "int64", "f": "double", "b": "bool", "s": "string", "d": "date", "t": "timestamp",
                     "big": "string", "mix": "string", "flag": "string"}  # fmt: skip
    assert found == {
        "i": [1, -2], "f": [1.0, 0.5], "b": [True, False], "s": ["x", None], "d": [day, None], "t": [moment, moment],
        "big": ["9223372036854775808", "1"], "mix": ["1", "x"], "flag": ["true", "1"],
    }  # fmt: skip


def test_what_is_no_plain_value_becomes_json() -> None:
    found, types = columns({"a": {"x": [1, "é"]}, "b": "\ud800"}, {"a": [2]})
    assert found == {"a": ['{"x": [1, "é"]}', "[2]"], "b": ["\\ud800", None]}
    assert types == {"a": "string", "b": "string"}


def test_names_of_our_own_columns_and_of_each_other_are_told_apart() -> None:
    found, _ = columns({"id": 1, "Width": 2, "member": 3, "a": 4, "A": 5, "": 6, "source_id": 7})
    assert found == {
        "source_id": [1], "source_Width": [2], "source_member": [3], "a": [4], "source_A": [5], "unnamed": [6],
        "source_source_id": [7],
    }  # fmt: skip


def test_types_widen_from_one_partition_to_the_next() -> None:
    known = MetadataColumns()
    known.arrays([{"a": 1, "b": 1}])
    known.arrays([{"a": 0.5, "b": "x"}])
    known.arrays([{"a": None}])
    assert known.types == {"a": "double", "b": "string"}


def test_keys_that_are_other_ones_for_each_image_are_refused() -> None:
    with pytest.raises(SourceError, match="over 200 columns beside the paths"):
        columns(*({f"key {number}": 1} for number in range(201)))


def test_settled_columns_take_what_they_hold_exactly_and_count_the_rest() -> None:
    columns = SettledColumns({"stars": "int64", "share": "double", "label": "string", "seen": "bool"})
    rows: list[dict[str, object]] = [
        {"stars": 3, "share": 1, "label": 7, "seen": True, "mood": "good"},
        {"stars": 2.5, "share": as_number("0.50"), "label": "x", "seen": 1},
        {"stars": "many", "share": "half", "label": None, "mood": None},
    ]
    arrays = columns.arrays(rows)
    assert sorted(arrays) == ["label", "seen", "share", "stars"]
    assert arrays["stars"].to_pylist() == [3, None, None]
    assert arrays["share"].cast(pa.float64()).to_pylist() == [1.0, 0.5, None]
    assert arrays["label"].to_pylist() == ["7", "x", None]
    assert arrays["seen"].to_pylist() == [True, None, None]
    assert columns.left_out == {
        "of the column stars, which holds int64": 2,
        "of the column share, which holds double": 1,
        "of the column seen, which holds bool": 1,
        "of a column mood that the job does not have": 1,
    }
