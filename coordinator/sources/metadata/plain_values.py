"""Read the columns of a Parquet file that hold one plain value for each image, as Python values."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import SourceError

# The years 1 to 9999, which are all that Python has, in days and in microseconds since 1970.
_DAYS: Final = (-719_162, 2_932_896)
_MICROSECONDS: Final = (_DAYS[0] * 86_400_000_000, (_DAYS[1] + 1) * 86_400_000_000 - 1)
_UNITS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}


def is_plain(kind: pa.DataType) -> bool:
    """Whether a column holds one value for each image that a search can filter by: text, a number, a date, a time."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests: tuple[Any, ...] = (
        pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_boolean,
        pa.types.is_integer, pa.types.is_floating, pa.types.is_date, pa.types.is_timestamp, pa.types.is_decimal,
        pa.types.is_time,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def require_distinct(source: str, columns: Sequence[str]) -> None:
    """Raise SourceError when two columns of `source` have one name, because it is not clear which is meant."""
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise SourceError(f"{source} has two columns named {twice[0]!r}: give each a name of its own.")


def plain_rows(batch: pa.RecordBatch, names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of some columns of plain values. Values that Python's types don't hold exactly become text: times of
    nanoseconds, years beyond 9999.
    """
    columns = [values_in(batch.column(name)) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)] if names else [{}] * len(batch)


def values_in(column: pa.Array) -> list[Any]:
    """The values of a column of plain values, as in `plain_rows`."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return values_in(column.dictionary_decode())
    if pa.types.is_float16(kind):
        return column.cast(pa.float32()).to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_time(kind):
        return column.cast(pa.string()).to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_date(kind):
        days = column.cast(pa.int32()) if pa.types.is_date32(kind) else _divided(column.cast(pa.int64()), 86_400_000)
        return _held(column, column, _within(days, _DAYS))
    if pa.types.is_timestamp(kind):
        counts = column.cast(pa.int64())
        if kind.unit == "ns":
            micros = _divided(counts, 1_000)
            exact = pc.equal(pc.multiply(micros, 1_000), counts)
        else:
            micros = counts
            exact = _within(counts, (-(-_MICROSECONDS[0] // _UNITS[kind.unit]), _MICROSECONDS[1] // _UNITS[kind.unit]))
        try:
            return _moments(column, exact)
        except (KeyError, ValueError, OverflowError, pa.ArrowException):
            # Python may not know the zone that the file names, and near the years 1 and 9999 its offset leads out of
            # the range.
            return _moments(column.cast(pa.timestamp(kind.unit, "UTC")), exact)
    return column.to_pylist()  # type: ignore[no-any-return]


def _moments(column: pa.Array, exact: pa.Array) -> list[Any]:
    fine = pc.if_else(exact, column, pa.scalar(None, column.type))
    return _held(column, fine.cast(pa.timestamp("us", column.type.tz), safe=False), exact)


def _held(column: pa.Array, fine: pa.Array, exact: pa.Array) -> list[Any]:
    """The values of `fine` where they are `exact`, and elsewhere the text of those of `column`."""
    if pc.all(exact, min_count=0).as_py():
        return fine.to_pylist()  # type: ignore[no-any-return]
    good = pc.if_else(exact, fine, pa.scalar(None, fine.type)).to_pylist()
    texts = pc.if_else(exact, pa.scalar(None, column.type), column).cast(pa.string()).to_pylist()
    return [one if text is None else text.replace(" ", "T", 1) for one, text in zip(good, texts, strict=True)]


def _within(counts: pa.Array, bounds: tuple[int, int]) -> pa.Array:
    return pc.and_(pc.greater_equal(counts, bounds[0]), pc.less_equal(counts, bounds[1]))


def _divided(counts: pa.Array, by: int) -> pa.Array:
    """The quotient, rounded towards zero: enough to tell which values divide without a remainder."""
    return pc.divide(counts, by)
