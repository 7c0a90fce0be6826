"""Group images that show the same, so that each is proven to show what the one to be kept shows (pure).

Nodes are numbers that stand for images; those of the same bytes are one node.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Pair: TypeAlias = tuple[int, int]
"""Two nodes, the lower one first."""
Near: TypeAlias = Mapping[int, set[int]]


@dataclass(slots=True)
class Nodes:
    """A group of nodes: the one to be `kept`, those that are proven to show the same, and those that are only similar.

    `beside` are nodes of no group that are proven to show what a member shows, each with that member.
    """

    kept: int
    proven: list[int] = field(default_factory=list)
    similar: list[int] = field(default_factory=list)
    beside: list[Pair] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Settled:
    """The groups that nothing has to be compared for any more, and the pairs that have to be for the others."""

    groups: list[Nodes]
    wanted: list[Pair]


def pair(one: int, other: int) -> Pair:
    return (one, other) if one < other else (other, one)


def apart(rejected: Iterable[Pair]) -> Near:
    """For each number in a rejected pair those that it must not be in one group with."""
    found: dict[int, set[int]] = {}
    for one, other in rejected:
        found.setdefault(one, set()).add(other)
        found.setdefault(other, set()).add(one)
    return found


def settled(proofs: Mapping[Pair, bool], rank: Callable[[int], int], rejected: Set[Pair] = frozenset()) -> Settled:
    """Group nodes by `proofs`, which say of each pair that was compared whether the two show the same.

    Nodes that are connected by proofs, over others as well, are one part. Its best node by `rank` is kept, and a node
    joins it that is proven to show the same as that one itself: two crops of one picture that share nothing join
    through the whole picture where that is kept, and not where one of the crops is. What is left is grouped likewise.
    Where a part has nodes that were not compared with its best one, it is not grouped yet: those pairs are wanted.
    Pairs that are `rejected` prove nothing, and are never in one group.
    """
    near: dict[int, set[int]] = {}
    for (one, other), same in proofs.items():
        if same and (one, other) not in rejected:
            near.setdefault(one, set()).add(other)
            near.setdefault(other, set()).add(one)
    foes = apart(rejected)
    groups: list[Nodes] = []
    wanted: list[Pair] = []
    alone: list[int] = []
    todo = _parts(near, near)
    while todo:
        part = todo.pop()
        if len(part) == 1:
            alone += part
            continue
        best = min(part, key=rank)
        others = sorted(part - {best}, key=rank)
        unknown = [one for one in (pair(best, other) for other in others) if one not in proofs and one not in rejected]
        if unknown:
            wanted += unknown
            continue
        group = Nodes(best)
        for other in others:
            if other in near[best] and (other not in foes or foes[other].isdisjoint(group.proven)):
                group.proven.append(other)
        groups.append(group)
        todo += _parts(near, part - {best, *group.proven})
    groups.sort(key=lambda group: rank(group.kept))
    _put_beside(groups, alone, near, rank)
    return Settled(groups, sorted(wanted))


def _parts(near: Near, nodes: Collection[int]) -> list[set[int]]:
    """The connected parts of some nodes."""
    left, found = set(nodes), list[set[int]]()
    while left:
        part, ahead = set[int](), [left.pop()]
        while ahead:
            node = ahead.pop()
            part.add(node)
            next_ = near[node] & left
            left -= next_
            ahead += next_
        found.append(part)
    return found


def _put_beside(groups: Sequence[Nodes], alone: Iterable[int], near: Near, rank: Callable[[int], int]) -> None:
    of = {node: group for group in groups for node in (group.kept, *group.proven)}
    for node in sorted(alone, key=rank):
        shown_by = [other for other in sorted(near[node], key=rank) if other in of]
        if shown_by:
            of[shown_by[0]].beside.append((node, shown_by[0]))


def add_similar(
    groups: list[Nodes],
    lower: npt.NDArray[np.int64],
    upper: npt.NDArray[np.int64],
    similarities: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.int64],
    rejected: Set[Pair] = frozenset(),
) -> list[Nodes]:
    """The groups with what is similar to the node that each keeps, and new ones of nodes that are only similar.

    `lower` and `upper` are the pairs that are similar enough. From the best node on, each that is kept, or in no group,
    takes those of no group that are similar to itself: what is similar to another member only is not in its group, so
    none grows from one similar image to the next.
    """
    sources, targets = np.concatenate([lower, upper]), np.concatenate([upper, lower])
    order = np.lexsort((ranks[targets], -np.concatenate([similarities, similarities]), sources))
    sources, targets = sources[order], targets[order]
    nodes, starts = np.unique(sources, return_index=True)
    ends = np.append(starts[1:], len(sources))
    foes = apart(rejected)
    of = {group.kept: group for group in groups}
    taken = {node for group in groups for node in (group.kept, *group.proven)}
    found = list(groups)
    for place in np.argsort(ranks[nodes], kind="stable").tolist():
        node = int(nodes[place])
        if node in taken and node not in of:
            continue
        group = of.get(node) or Nodes(node)
        for other in targets[starts[place] : ends[place]].tolist():
            if other in taken:
                continue
            if other not in foes or foes[other].isdisjoint((node, *group.proven, *group.similar)):
                group.similar.append(other)
                taken.add(other)
        if group.similar and node not in of:
            taken.add(node)
            found.append(group)
    return found
