"""Pairs of images that may show the same: from the neighbours that each image of a job has in its index."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from coordinator.jobs.runs.duplicates.facts import Facts, Places
from shared.job.changes.log import Ids
from shared.job.index.duplicates.neighbours import Neighbours, firsts


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Pairs of nodes, places of `Facts`: `lower` < `upper`, int64 [m], in order, and the cosine similarity of each."""

    lower: Places
    upper: Places
    similarities: npt.NDArray[np.float32]

    def at_least(self, similarity: float) -> "Candidates":
        """Those that are at least so similar."""
        near = self.similarities >= np.float32(similarity)
        return Candidates(self.lower[near], self.upper[near], self.similarities[near])


def unasked(facts: Facts, asked: Iterable[Ids]) -> Ids:
    """The ids, int64 ascending, of the live images whose neighbours no file holds, by the ids that each file holds."""
    known = np.concatenate([np.empty(0, np.int64), *asked])
    found: Ids = np.setdiff1d(facts.ids[facts.live], known)
    return found


def candidates_of(facts: Facts, found: Iterable[Neighbours], ranks: Places, least: float) -> Candidates:
    """The pairs that are at least so similar, from what each file holds; each once, with the higher similarity.

    Images of equal embeddings are one in an index: the best of them stands for all towards others, and each of them is
    a pair with it. So images that were removed since still say what is near to those that were equal to them.
    """
    ids, digests, sources, targets, similarities = _joined(found, least)
    order = np.argsort(ids, kind="stable")
    ids, classes = ids[order], firsts(digests[order])  # A class is the place of its first image in `ids`.
    places = facts.places(ids)
    live = (places >= 0) & facts.live[places] if len(facts.ids) else np.zeros(len(ids), bool)
    nodes = np.where(live, facts.nodes[places] if len(facts.ids) else 0, -1)
    best = np.full(len(ids), -1, np.int64)
    there = np.flatnonzero(live)
    there = there[np.lexsort((ranks[nodes[there]], classes[there]))]
    begins = np.ones(len(there), bool)
    begins[1:] = np.diff(classes[there]) != 0
    best[classes[there[begins]]] = nodes[there[begins]]

    def stands(wanted: Ids) -> Places:
        at = np.searchsorted(ids, wanted)
        at[at == len(ids)] = 0
        known = ids[at] == wanted if len(ids) else np.zeros(len(wanted), bool)
        return np.where(known, best[classes[at]], -1) if len(ids) else np.full(len(wanted), -1, np.int64)

    equal = there[nodes[there] != best[classes[there]]]
    one = np.concatenate([stands(sources), best[classes[equal]]])
    other = np.concatenate([stands(targets), nodes[equal]])
    near = np.concatenate([similarities, np.ones(len(equal), np.float32)])
    good = (one >= 0) & (other >= 0) & (one != other)
    return _once(np.minimum(one, other)[good], np.maximum(one, other)[good], near[good])


def _once(lower: Places, upper: Places, similarities: npt.NDArray[np.float32]) -> Candidates:
    order = np.lexsort((-similarities, upper, lower))
    lower, upper, similarities = lower[order], upper[order], similarities[order]
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(lower) != 0) | (np.diff(upper) != 0)
    return Candidates(lower[new], upper[new], similarities[new])


def _joined(found: Iterable[Neighbours], least: float) -> tuple[np.ndarray, ...]:
    parts: list[list[np.ndarray]] = [[], [], [], [], []]
    for one in found:
        near = one.similarities >= np.float32(least)
        some: tuple[np.ndarray, ...] = (
            one.ids,
            one.digests,
            one.sources[near],
            one.targets[near],
            one.similarities[near],
        )
        for part, array in zip(parts, some, strict=True):
            part.append(array)
    none = np.empty(0, np.int64)
    empty = (none, np.empty((0, 2), np.uint64), none, none, np.empty(0, np.float32))
    return tuple(np.concatenate([nothing, *part]) for nothing, part in zip(empty, parts, strict=True))
