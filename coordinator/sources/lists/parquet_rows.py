"""Lists as Parquet files: the path of each row, and its columns of plain values."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from coordinator.sources.listing import ListedImage
from coordinator.sources.lists.path_column import path_column
from coordinator.sources.lists.places import beside_source
from coordinator.sources.metadata.plain_values import is_plain, plain_rows, require_distinct
from shared.errors import SourceError
from shared.images import image_parquet

_ROWS: Final = 1_024


def rows_of_parquet(source: str, left_out: Counter[str]) -> Iterator[ListedImage]:
    """The rows of a Parquet file with a column of paths; columns of plain values are kept, the others counted."""
    place = beside_source(source)
    with image_parquet.opened(source) as file:
        schema = file.schema_arrow
        require_distinct(source, schema.names)
        column = path_column(source, schema.names)
        plain = [field.name for field in schema if is_plain(field.type)]
        if column not in plain:
            raise SourceError(f"The column {column!r} of {source} is {schema.field(column).type}; expected paths.")
        for name in set(schema.names) - set(plain):
            left_out[f"column {name} of {schema.field(name).type}"[:80]] += 1
        for batch in file.iter_batches(_ROWS, columns=plain, use_threads=False):
            for row in plain_rows(batch, plain):
                path = row.pop(column)
                if path:
                    yield ListedImage(place(str(path)), known=row)
                else:
                    left_out["row without a path"] += 1
