"""Merge the hits of the views of one query (pure)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from shared.messages.search import Hit
from shared.messages.verified import best_first


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
