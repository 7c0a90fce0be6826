"""Compute how often an altered copy finds its original: accuracy@10 by alteration, without FAISS."""

from collections.abc import Mapping, Sequence
from typing import Final

from shared.job.altered_copies import Copies
from shared.messages.search import Hit
from shared.vectors import unit
from workers.evaluate.recall import Searches
from workers.vectors.embeddings import Floats
from workers.vectors.exact import TIE

K: Final = 10


def accuracy_at_10(searcher: Searches, copies: Copies) -> Mapping[str, float]:
    """The share of altered copies whose original is among the first ten hits, by alteration, in the order of the
    copies.

    It does not matter which of two equal photos is found: an image exactly as similar to the altered copy as the
    original counts too. Empty if there are no altered copies.
    """
    return by_alteration(copies, found(copies, [searcher.search(query, K) for query in queries_of(copies)]))


def queries_of(copies: Copies) -> Floats:
    """The altered copies as queries, float32 [n, d] of length 1."""
    return unit(copies.embeddings)


def found(copies: Copies, answers: Sequence[Sequence[Hit]]) -> list[bool]:
    """For each altered copy, whether its original, or an image exactly as similar, is among its hits."""
    wanted = zip(copies.ids.tolist(), copies.similarities.tolist(), answers, strict=True)
    return [
        any(hit.id == image_id or abs(hit.similarity - similarity) <= TIE for hit in hits)
        for image_id, similarity, hits in wanted
    ]


def by_alteration(copies: Copies, right: Sequence[bool]) -> dict[str, float]:
    """The share of altered copies that are `right`, by alteration."""
    groups: dict[str, list[bool]] = {}
    for alteration, good in zip(copies.alterations, right, strict=True):
        groups.setdefault(alteration, []).append(good)
    return {alteration: sum(good) / len(good) for alteration, good in groups.items()}
