"""The types of the columns of source metadata, in the manifest and in Arrow."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyarrow as pa

KNOWN_TYPES: Final = ("bool", "int64", "double", "string", "date", "timestamp")
"""The types of the columns of source metadata."""


def arrow_type(kind: str) -> "pa.DataType":
    """Arrow's type for one of KNOWN_TYPES. Raises KeyError for any other."""
    import pyarrow as pa  # The import is here because a client reads manifests, and is installed without Arrow.

    return {
        "bool": pa.bool_(),
        "int64": pa.int64(),
        "double": pa.float64(),
        "string": pa.string(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
    }[kind]
