"""Define the width of a search (lists, candidates, margins), and read the width that a build was tuned to."""

from dataclasses import dataclass

from shared.job import builds


@dataclass(frozen=True, slots=True)
class Width:
    """How widely a search looks: lists read of the index (0 for a flat one), and candidates compared exactly.

    Both are upper bounds. With a `list_margin`, a query reads only lists whose centroids are at most that much farther
    from it, in squared L2, than the nearest one. With a `depth_ratio`, only candidates are compared that are, by the
    index, at most that many times as far as the k-th. 0 stands for no such bound.
    """

    nprobe: int
    depth: int
    list_margin: float = 0.0
    depth_ratio: float = 0.0


def width_of(info: builds.IndexInfo) -> Width:
    """How widely a build is searched."""
    return Width(info.nprobe, info.rerank_depth, info.list_margin, info.depth_ratio)
