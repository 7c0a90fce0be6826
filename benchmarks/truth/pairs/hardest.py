"""Have the pairs that are hardest to tell apart verified, and ask of millions whether they are the same pixels."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, Final

import numpy as np

from benchmarks.support import machine
from benchmarks.truth.methods.cascade import Asked, Features
from benchmarks.truth.pairs import nearest as near
from benchmarks.truth.pairs import pixels
from benchmarks.truth.pairs.nearest import Floats, Pairs
from benchmarks.truth.progress import shown
from benchmarks.truth.queries.collection import Collection, Query, pixels_of

BY_MODEL: Final = "nearest by the model"
BY_SURROUNDINGS: Final = "nearest surroundings"
PHOTOGRAPHS: Final = "photographs with each other"
COPIES: Final = "altered copies with other photographs"


def pairs_of(photos: Collection, vectors: Floats, count: int, surroundings: int) -> Iterator[tuple[str, Pairs, Floats]]:
    """The hardest pairs by name, int64 [n, 2] of places in the collection, and how alike they are; none comes twice."""
    by_model, alike = near.nearest_pairs(vectors, count)
    yield BY_MODEL, by_model, alike
    seen = frozenset((first, second) for first, second in by_model.tolist())
    yield BY_SURROUNDINGS, *near.nearest_pairs(near.all_surroundings(photos.photos), surroundings, seen)


def judged(photos: Collection, features: Features, pairs: Pairs, alike: Floats) -> dict[str, Any]:
    """How many pairs are proven to be the same, the first as a query and the second as it is stored: each is false."""
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    groups = [(first, list(places)) for first, places in groupby(order.tolist(), lambda place: int(pairs[place, 0]))]

    def proofs(group: tuple[int, list[int]]) -> list[tuple[int, str]]:
        asked = Asked.of(photos.photos[group[0]].data())
        verdicts = [(place, features.verdict(asked, int(pairs[place, 1]))) for place in group[1]]
        return [(place, f"{said.word}: {said.evidence.description}" if said else "") for place, said in verdicts]

    said = [""] * len(pairs)
    with ThreadPoolExecutor(machine.cores()) as threads:
        for found in shown(
            threads.map(proofs, groups), "pairs by their query", lambda some: f"{len(some)} pairs", len(groups)
        ):
            for place, proof in found:
                said[place] = proof
    return near.false_among(pairs, alike, _names(photos), said)


def askers(
    photos: Collection, queries: Sequence[Query], kinds: set[str]
) -> Iterator[tuple[str, Callable[[], Iterable[pixels.Asked]], bool]]:
    """Who asks all photographs for the same pixels: the photographs themselves, and the queries of `kinds`."""

    def photographs() -> Iterator[pixels.Asked]:
        for number, photo in enumerate(photos.photos):
            yield pixels.Asked(photo.name, pixels_of(photo.data()), number)

    def copies() -> Iterator[pixels.Asked]:
        for query in queries:
            if query.kind in kinds:
                name = f"{photos.photos[query.original].name}, {query.kind}"
                yield pixels.Asked(name, pixels_of(query.data), query.original)

    yield PHOTOGRAPHS, photographs, True
    yield COPIES, copies, False


def same_pixels_among(
    photos: Collection, features: Features, asked: Callable[[], Iterable[pixels.Asked]], *, half: bool
) -> dict[str, Any]:
    """How many pairs are called the same pixels: each is false."""
    return pixels.false_among(asked(), features.every, _names(photos), half=half)


def _names(photos: Collection) -> list[str]:
    return [photo.name for photo in photos.photos]
