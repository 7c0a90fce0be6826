"""Merge the hits of the views of one query, and decide in which order they are compared (pure)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import cycle, zip_longest
from typing import TypeAlias

from shared.messages.search import Hit
from shared.messages.verified import best_first

Alike: TypeAlias = Callable[[Hit, Sequence[Hit]], Sequence[float]]
"""How alike an image is to each of some others: the cosine of their embeddings, in the order of the others."""


class Likely:
    """Candidates in the order in which they are to be compared, which changes with each that is proven.

    Copies of one picture are often nearer to each other than to a query that shows a part of it, or shows it among
    others. So behind each that is proven, the order given and what is proven take turns: the next as given, the nearest
    to any proven one, the next as given, the nearest to the latest. The order given is first, and has half of the
    places, as a query may show several pictures. An id that comes twice is one candidate.
    """

    def __init__(self, candidates: Iterable[Hit], alike: Alike) -> None:
        self.left = list({hit.id: hit for hit in candidates}.values())
        """Those that are still to be compared, the next one first."""
        self._alike = alike
        self._nearest: dict[int, float] = {}
        self._place = {hit.id: place for place, hit in enumerate(self.left)}

    def __len__(self) -> int:
        """How many there were at first."""
        return len(self._place)

    def proven(self, hit: Hit) -> None:
        """Let those that are left come in the order that a proven one gives them."""
        latest = {other.id: float(alike) for other, alike in zip(self.left, self._alike(hit, self.left), strict=True)}
        self._nearest = {image: max(alike, self._nearest.get(image, alike)) for image, alike in latest.items()}
        given = sorted(self.left, key=lambda other: self._place[other.id])
        by_given, by_nearest, by_latest = (
            iter(given),
            iter(sorted(given, key=lambda other: -self._nearest[other.id])),
            iter(sorted(given, key=lambda other: -latest[other.id])),
        )
        ordered: dict[int, Hit] = {}
        for turn in cycle((by_given, by_nearest, by_given, by_latest)):
            if len(ordered) == len(given):
                break
            if (one := next((other for other in turn if other.id not in ordered), None)) is not None:
                ordered[one.id] = one
        self.left = list(ordered.values())


def merged(views: Iterable[Sequence[Hit]], most: int) -> list[Hit]:
    """The `most` nearest images of all views, each once, with the similarity of the view that is nearest to it."""
    nearest: dict[int, Hit] = {}
    for hits in views:
        for hit in hits:
            if hit.id not in nearest or nearest[hit.id].similarity < hit.similarity:
                nearest[hit.id] = hit
    return ranked(best_first(nearest.values()), most)


def ranked(hits: Sequence[Hit], most: int) -> list[Hit]:
    """The first `most` of the hits, which are in their order, with their ranks."""
    return [replace(hit, rank=rank) for rank, hit in enumerate(hits[:most], start=1)]


def by_turns(views: Sequence[Sequence[Hit]], most: int) -> list[Hit]:
    """The `most` images that show the query's picture most likely, each with the similarity of its nearest view.

    The hits of each view are in their order, and the order of these is that of `in_turns`.
    """
    nearest = {hit.id: hit for hit in merged(views, sum(map(len, views)))}
    chosen = in_turns(list(nearest), [[hit.id for hit in hits] for hits in views], most)
    return [nearest[image] for image in chosen]


def in_turns(nearest: Sequence[int], views: Sequence[Sequence[int]], most: int) -> list[int]:
    """The first `most` of some ids: by turns the next of the `nearest` over all, and the next of the views together.

    `views` are the ids that are nearest to each. They take turns as well: in a view of another picture strangers are
    nearer than the original is to the view that shows it alone. Half of the places stay with what is nearest over all,
    where a picture may have many copies.
    """
    of_views = [image for rank in zip_longest(*views) for image in rank if image is not None]
    both = (image for pair in zip_longest(nearest, of_views) for image in pair if image is not None)
    return list(dict.fromkeys(both))[:most]
