"""Say how far a long step is."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from benchmarks.support import program

T = TypeVar("T")

_SECONDS: Final = 60.0


def shown(items: Iterable[T], what: str, last: Callable[[T], str], total: int | None = None) -> Iterator[T]:
    """`items` themselves; once a minute stderr says how many of them have passed, and what the `last` of them was."""
    count = total if total is not None else len(items) if isinstance(items, Sequence) else 0
    said = time.monotonic()
    program.log(f"{what}: {count:,} to do")
    for number, item in enumerate(items, 1):
        if time.monotonic() - said > _SECONDS:
            said = time.monotonic()
            program.log(f"{what}: {number:,} of {count:,}, now {last(item)}")
        yield item
