"""Turn a path, bytes, an RGB array or a vector into a query, group queries into tasks, and tell which job they mean."""

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from shared.errors import ImageError, QueryError, UsageError
from shared.images.location import read_bytes
from shared.images.paths import expanded, is_file_uri, is_url, split_member, to_os_path
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from shared.messages.query import MAX_IMAGE_BYTES, Query

Queryable = str | os.PathLike[str] | bytes | np.ndarray

_BYTES_PER_TASK = 4 << 20


def as_query(query: Queryable, max_bytes: int = MAX_IMAGE_BYTES) -> Query:
    """The query for a path, encoded bytes, an RGB array uint8 [h, w, 3] or a vector float [d].

    A path may be a URL, or name an image in an archive, `photos.tar::a/b.jpg`, as hits do.

    An image of over `max_bytes` is refused before it is read or copied.
    """
    if isinstance(query, np.ndarray):
        if query.ndim == 1 and query.size and query.dtype.kind == "f":
            return Query(vector=query.astype(np.float32))
        if query.ndim == 3 and query.shape[2] == 3 and query.dtype == np.uint8:
            _require_size(query.size, max_bytes, "of the array")
            return Query(image=_as_ppm(query))
        raise QueryError(
            f"An array query must be a vector, float [d], or an RGB image, uint8 [h, w, 3]; this one is "
            f"{query.dtype} {list(query.shape)}."
        )
    if isinstance(query, bytes):
        _require_size(len(query), max_bytes, "given")
        return Query(image=query)
    if isinstance(query, str | os.PathLike):
        return Query(image=_image_at(query, max_bytes))
    raise QueryError(f"A query is a path, encoded bytes, an RGB array or a vector, not {type(query).__name__}.")


def _image_at(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    if isinstance(path, str) and (is_url(path) or split_member(path)):
        try:
            return read_bytes(path, max_bytes)
        except ImageError as error:
            raise ImageError(f"The query image {path} can't be read: {error}", error.status) from None
    if isinstance(path, str) and is_file_uri(path):
        path = to_os_path(path)
    try:
        # Opening must not wait, as it would for a pipe that no process writes to.
        with open(
            os.path.expanduser(path), "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
        ) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ImageError(f"The query image {path!s} can't be read: it is no regular file.", "unreadable")
            _require_size(found.st_size, max_bytes, str(path))
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path.
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"The query image {path!s} can't be read: {reason}.", "unreadable") from None


def _require_size(size: int, max_bytes: int, which: str) -> None:
    if size > max_bytes:
        raise ImageError(
            f"The query image {which} has {size:,} bytes; the most is {max_bytes:,} (the setting max_query_bytes): "
            "send a smaller copy.",
            "oversized",
        )


def _as_ppm(image: np.ndarray) -> bytes:
    """The image as PPM, the simplest lossless format: a client needs no image library to write it."""
    height, width, _ = image.shape
    return f"P6 {width} {height} 255\n".encode() + np.ascontiguousarray(image).tobytes()


def groups(queries: Sequence[Query], most: int) -> Iterable[list[Query]]:
    """The queries in order, cut into what one task carries: `most` queries, or 4 MiB of images."""
    group: list[Query] = []
    size = 0
    for query in queries:
        weight = len(query.image or b"")
        if group and (len(group) == most or size + weight > _BYTES_PER_TASK):
            yield group
            group, size = [], 0
        group.append(query)
        size += weight
    if group:
        yield group


def vectors_in(path: Path) -> list[tuple[str, Queryable]]:
    """The vectors of a .npy file with a name for each; raises QueryError when it holds something else."""
    try:
        with open(expanded(path), "rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise QueryError(f"The query vectors {path} can't be read as .npy: {error}.") from None
    if array.ndim not in (1, 2) or array.dtype.kind != "f" or not array.size:
        raise QueryError(
            f"The query vectors {path} are {array.dtype} {list(array.shape)}; expected a float array [d] or [q, d]."
        )
    if array.ndim == 1:
        return [(str(path), array)]
    return [(f"{path}[{number}]", row) for number, row in enumerate(array)]


def identity_here(job: JobDir) -> str | None:
    """The identity of a job that can be read on this machine; None if only the workers can read it."""
    try:
        return load_manifest(job).identity if job.spec.is_file() else None
    except (OSError, UsageError):  # No access, or no library for the store: a client need not have either.
        return None
