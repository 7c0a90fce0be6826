"""What a method does, and the parts that several need."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.truth.judge import Outcome
from benchmarks.truth.queries.collection import Photo, Query


class Unavailable(Exception):
    """A method that can't be measured here; the text says why."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a method keeps of an image: bytes, and the milliseconds of CPU that making it takes, on average."""

    bytes_per_image: float
    cpu_ms: float

    def to_json(self) -> dict[str, float]:
        return {"bytes_per_image": round(self.bytes_per_image, 1), "cpu_ms": round(self.cpu_ms, 2)}


@dataclass(frozen=True, slots=True)
class Rule:
    """When a method calls a photograph the same, in words, and what came of it for each query."""

    says: str
    outcomes: Sequence[Outcome]


class Method(Protocol):
    """A way to find a photograph again, and to say whether it is the same."""

    name: str
    about: str
    asks_absent: bool
    """Whether a query whose original is absent takes another time."""

    def store(self, photos: Sequence[Photo]) -> Stored:
        """Take the photographs of the collection up."""

    def judge(self, queries: Sequence[Query]) -> list[Rule]:
        """Answer every query, with its original there and without it."""

    def ask(self, data: bytes, without: int | None) -> Any:
        """Answer one query from the bytes of its file; the photograph at the place `without` is not there."""
