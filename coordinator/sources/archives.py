"""List the images inside a tar, a zip or a Parquet file, in order, with the place of each."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any, Final

import pyarrow.parquet as pq

from coordinator.sources.choosing import Sieve
from coordinator.sources.listing import ListedImage
from coordinator.sources.lists.places import beside_source
from coordinator.sources.metadata.plain_values import is_plain, plain_rows, require_distinct
from coordinator.sources.webdataset import webdataset_samples
from shared.errors import SourceError
from shared.images import image_parquet
from shared.images.archives import FILES, Inside
from shared.images.kinds import HEAD_BYTES
from shared.images.location import opened, suffix_of
from shared.images.member_heads import tar_head, zip_head
from shared.images.members import Member, read_tar_member, read_zip_member
from shared.images.paths import member_text

_ROWS: Final = 1_024


def images_in(archive: str, sieve: Sieve, place: str = "") -> Iterator[ListedImage]:
    """The images of the tar, zip or Parquet file at `archive`, a text as `to_text` makes it or a URL.

    `place` is its path in the source, which patterns see before the names in it. Only headers, texts beside the images
    and columns beside their bytes are read. Raises SourceError when the archive can't be read to its end, because then
    it is not known what it should hold.
    """
    if suffix_of(archive) == ".parquet":
        return _in_parquet(archive, sieve.left_out)
    return _in_files(archive, suffix_of(archive), sieve, place)


def images_in_all(archives: Iterable[tuple[str, str]], sieve: Sieve) -> Iterator[ListedImage]:
    """The images of several archives, one after the other; each archive comes with its place in the source.

    A Parquet file without images among them, as img2dataset writes one beside each tar, is counted as left out.
    """
    for archive, place in archives:
        if suffix_of(archive) == ".parquet" and not holds_images(archive):
            sieve.leave_out("Parquet file without images")
        else:
            yield from images_in(archive, sieve, place)


def holds_images(archive: str) -> bool:
    """Whether a Parquet file has a column of images; raises SourceError when it is no Parquet file."""
    with image_parquet.opened(archive) as file:
        return image_parquet.image_column(file.schema_arrow) is not None


def _in_files(archive: str, suffix: str, sieve: Sieve, place: str) -> Iterator[ListedImage]:
    with opened(archive) as file:

        def read_at(start: int, length: int) -> bytes:
            # Read from the file that is being listed: if it is remote, most of that is here already.
            file.seek(start)
            return file.read(length)

        def read(inside: Inside) -> bytes:
            assert inside.member is not None
            if suffix == ".tar":
                return read_tar_member(read_at, inside.member, inside.name)
            # The zip's directory was read a moment ago.
            return read_zip_member(read_at, inside.member, inside.name, lambda offset: inside.name)

        def head(inside: Inside) -> bytes:
            assert inside.member is not None
            return (tar_head if suffix == ".tar" else zip_head)(read_at, inside.member, HEAD_BYTES)

        yield from webdataset_samples(archive, FILES[suffix](file, archive), read, head, sieve, place)


def _in_parquet(archive: str, left_out: Counter[str]) -> Iterator[ListedImage]:
    with image_parquet.opened(archive) as file:
        schema = file.schema_arrow
        require_distinct(archive, schema.names)
        column = image_parquet.image_column(schema)
        if column is None:
            raise SourceError(
                f"{archive} has no column of images (binary, or a struct with bytes), nor of their paths; its columns "
                f"are {', '.join(schema.names) or 'none'}: rename the one that is meant to image or image_path."
            )
        names = image_parquet.name_column(schema, column)
        plain = [field.name for field in schema if field.name != column and is_plain(field.type)]
        for field in schema:
            if field.name != column and field.name not in plain:
                left_out[f"column {field.name} of {field.type}"[:80]] += 1
        wanted = [*([names] if names else []), *plain]
        place = beside_source(archive)
        row = 0
        for group in range(file.num_row_groups):
            # Without other columns there are no batches of them. Hugging Face may keep only the path of an image.
            held = image_parquet.rows_with_bytes(file, group, column) if names else None
            begins, rows = row, file.metadata.row_group(group).num_rows
            for path, known in _rows(file, group, names, plain) if wanted else repeat((None, {}), rows):
                if path and held is not None and not held[row - begins].as_py():
                    yield ListedImage(place(path), known=known)
                else:
                    yield ListedImage(member_text(archive, f"{row}/{path}" if path else str(row)), Member(row), known)
                row += 1


def _rows(
    file: pq.ParquetFile, group: int, names: str | None, plain: list[str]
) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """The name of the image in each row of a row group, and the values of the `plain` columns."""
    wanted = [*([names] if names else []), *plain]
    for batch in file.iter_batches(_ROWS, row_groups=[group], columns=wanted, use_threads=False):
        nested = names.rpartition(".")[0] if names else ""
        paths = batch.column(nested).field("path").to_pylist() if names else repeat(None, len(batch))
        yield from zip(paths, plain_rows(batch, plain), strict=False)
