"""Merge the hits of the views of one query, and decide in which order they are compared (pure)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest

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
