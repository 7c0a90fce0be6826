"""Read the texts beside images as columns; those of folders and URLs are read ahead, many at once."""

import posixpath
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from typing import Any, Final

from coordinator.sources.listing import ListedImage
from coordinator.sources.metadata.json_values import values_of
from coordinator.sources.metadata.numbers import as_number
from coordinator.sources.metadata.sidecars import TEXTS
from shared.errors import ImageError
from shared.images.location import read_bytes

TEXT_BYTES: Final = 1 << 20
"""A larger text is not read."""
_AT_ONCE: Final = 256  # How many images have their texts read together.
_THREADS: Final = 16  # Most of the time is spent waiting, for a mount as for a URL.
_NOTHING: Final[Mapping[str, Any]] = {}


def said_by(name: str, read: Callable[[], bytes], left_out: Counter[str]) -> Mapping[str, Any]:
    """The values in the text called `name`: those of a JSON object by their keys, anything else under its kind.

    A text that can't be read, or is too large, gives no values and is counted.
    """
    suffix = posixpath.splitext(name)[1].lower()
    try:
        text = read().decode("utf-8-sig", "replace").strip()
    except ImageError as error:
        left_out[f"{suffix} {_why_not(error)}"] += 1
        return _NOTHING
    if suffix == ".json":
        values = values_of(text)
        return {TEXTS[suffix]: text} if values is None else values
    value = as_number(text) if suffix == ".cls" else None
    return {TEXTS[suffix]: text if value is None else value}


def with_texts(files: Iterator[tuple[str, Sequence[str]]], left_out: Counter[str]) -> Iterator[ListedImage]:
    """Images by their paths or URLs, each with the paths of its texts, nearest last -> the same with the values of
    these.
    """
    said: dict[str, Mapping[str, Any]] = {}
    with ExitStack() as stack:
        pool: ThreadPoolExecutor | None = None
        while some := list(islice(files, _AT_ONCE)):
            texts = dict.fromkeys(text for _, beside in some for text in beside)
            if texts and pool is None:
                pool = stack.enter_context(ThreadPoolExecutor(_THREADS, "reading texts"))
            said = {text: said[text] for text in texts if text in said}
            if pool is not None and (new := [text for text in texts if text not in said]):
                for text, read in zip(new, pool.map(_read, new), strict=True):
                    said[text] = said_by(text, read, left_out)
            for path, beside in some:
                yield ListedImage(path, known=joined(said[text] for text in beside)) if beside else ListedImage(path)


def joined(texts: Iterator[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The values of several texts together; a later one overrides an earlier one."""
    known: dict[str, Any] = {}
    for text in texts:
        known |= text
    return known


def _read(text: str) -> Callable[[], bytes]:
    """The bytes of a text, or its error, for the caller to raise."""
    try:
        data = read_bytes(text, TEXT_BYTES)
    except ImageError as raised:
        error = raised

        def fail() -> bytes:
            raise error

        return fail
    return lambda: data


def _why_not(error: ImageError) -> str:
    return f"of over {TEXT_BYTES:,} bytes" if error.status == "oversized" else "that can't be read"
