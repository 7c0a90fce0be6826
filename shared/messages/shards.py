"""Which shards a query worker holds, the queue of all that hold the same, and which of them were searched."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from shared.errors import MessageError, SettingsError
from shared.messages.tasks import SHARDS_QUEUE

_HELD = re.compile(r"(\d{1,4})(-(\d{1,4})?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Held:
    """The shards `first` to `last` of each index, counted from 0; where `last` is None, all from `first` on."""

    first: int
    last: int | None

    @classmethod
    def parsed(cls, text: str) -> Self:
        """What "0-3", "5" or "4-" names; SettingsError for anything else."""
        match = _HELD.fullmatch(text)
        if match is None:
            raise SettingsError(
                f"{text!r:.80} names no shards: they are counted from 0, as in 0-3, in 5, or in 4- for all from 4 on."
            )
        first = int(match[1])
        last = first if match[2] is None else int(match[3]) if match[3] else None
        if last is not None and last < first:
            raise SettingsError(f"{text} names no shards, as the last comes before the first: say {last}-{first}.")
        return cls(first, last)

    @classmethod
    def of_queue(cls, queue: str) -> Self:
        """The shards of those who take the messages of `queue`; SettingsError where it is no such queue."""
        return cls.parsed(queue.removeprefix(SHARDS_QUEUE))

    def __str__(self) -> str:
        last = "" if self.last is None else str(self.last)
        return last if last == str(self.first) else f"{self.first}-{last}"

    @property
    def queue(self) -> str:
        """The queue of the workers that hold just these."""
        return f"{SHARDS_QUEUE}{self}"

    def among(self, count: int) -> range:
        """Those of the `count` shards of an index that are held."""
        return range(min(self.first, count), count if self.last is None else min(self.last + 1, count))


@dataclass(frozen=True, slots=True)
class SearchedShards:
    """The shards of an index that were searched.

    Attributes
    ----------
    build
        The build that they are of; "" for a job that has no index yet, of which all that is embedded is shard 0.
    numbers
        Which shards they are, counted from 0.
    sizes
        How many embeddings each shard of that build holds; with the last one those that no build covers yet.
    """

    build: str
    numbers: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def missing(self) -> list[int]:
        """The shards that were not searched."""
        return sorted(set(range(len(self.sizes))) - set(self.numbers))

    def to_json(self) -> dict[str, Any]:
        return {"build": self.build, "numbers": list(self.numbers), "sizes": list(self.sizes)}

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises MessageError for anything but what `to_json` gives."""
        if not isinstance(table, Mapping) or set(table) != {"build", "numbers", "sizes"}:
            raise MessageError(f"The shards of searched must hold build, numbers and sizes, not {table!r:.200}.")
        build, numbers, sizes = table["build"], table["numbers"], table["sizes"]
        if not isinstance(build, str) or not _are_counts(numbers) or not _are_counts(sizes):
            raise MessageError(
                f"The shards of searched must hold a text and two lists of whole numbers, not {table!r:.200}."
            )
        if not all(number < len(sizes) for number in numbers):
            raise MessageError(f"searched names shards that its build of {len(sizes)} does not have: {numbers!r:.200}.")
        return cls(build, tuple(numbers), tuple(sizes))


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def as_ranges(numbers: Iterable[int]) -> str:
    """Numbers in words: "0-3 and 6"."""
    ordered = sorted(numbers)
    starts = ordered[:1] + [number for before, number in pairwise(ordered) if number != before + 1]
    ends = [before for before, number in pairwise(ordered) if number != before + 1] + ordered[-1:]
    said = [str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True)]
    return " and ".join([", ".join(said[:-1]), said[-1]] if said[1:] else said)
