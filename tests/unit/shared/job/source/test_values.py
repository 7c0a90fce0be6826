"""Metadata that a program gives is held as it was given, or refused."""

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from shared.errors import UsageError
from shared.job.source.values import table_of

COLUMNS = pa.schema(
    [
        ("flag", pa.bool_()),
        ("count", pa.int64()),
        ("small", pa.int8()),
        ("share", pa.float64()),
        ("text", pa.string()),
        ("day", pa.date32()),
        ("moment", pa.timestamp("us")),
    ]
)


def test_plain_values_are_held_in_the_columns_of_the_job() -> None:
    full: dict[str, Any] = {
        "flag": False, "count": -3, "small": 7, "share": 1, "text": "é", "day": date(2020, 2, 29),
        "moment": datetime(2020, 2, 29, 1, 2, 3),
    }  # fmt: skip
    sent = full | {"day": "2020-02-29", "moment": "2020-02-29T01:02:03"}  # As a message carries them.
    table = table_of(COLUMNS, [full, sent, {}, {"text": None}])
    assert table.schema == COLUMNS
    assert table.to_pylist() == [full, full, *[dict.fromkeys(COLUMNS.names)] * 2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flag", 1), ("count", True), ("count", 1.0), ("count", "1"), ("count", 1 << 70), ("small", 300),
        ("share", "1"), ("share", (1 << 60) + 1), ("share", True), ("text", 1), ("text", date(2020, 1, 1)),
        ("day", "yesterday"), ("day", 3), ("day", datetime(2020, 1, 1)), ("moment", date(2020, 1, 1)),
        ("moment", datetime(2020, 1, 1, tzinfo=UTC)), ("moment", "2020-01-01T00:00:00+02:00"), ("text", ["a"]),
    ],
)  # fmt: skip
def test_a_value_that_its_column_would_make_another_one_is_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"The column {name} holds "):
        table_of(COLUMNS, [{name: value}])


def test_a_column_that_the_job_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no column 'colour' .*: it has flag, count"):
        table_of(COLUMNS, [{"text": "a"}, {"colour": "red"}])
    with pytest.raises(UsageError, match="it has none besides"):
        table_of(pa.schema([]), [{"colour": "red"}])
