"""Define the width of a search (lists, candidates, margins), and read the width that a build was tuned to."""

import math
from dataclasses import dataclass
from typing import Final

from shared.job.index import builds

_FILTERED_DEPTH: Final = 2
# Measured on 60,000 features like those of photographs: with this, recall@100 and recall@1,000 come near that of ten
# hits.
_TUNED_HITS: Final = 11  # Ten, and the query's own image, which measuring leaves out.
_DEPTH_GROWTH: Final = 0.65
_NPROBE_GROWTH: Final = 1 / 3
_MARGIN_GROWTH: Final = 1 / 4  # On two million: recall@100 within .01 of recall@10.


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

    def reaching(self, k: int, share: float, *, tuned: bool) -> "Width":
        """The width that finds k hits as well as this one finds ten, where only a `share` of the images may be found.

        `tuned` says whether those are as close to each other as all images, for which this width was tuned. Those that
        a filter leaves are closer, so the index confuses more of them, and neither margin nor ratio fits them.
        """
        # More hits than ten are farther out: in more lists, and behind more candidates.
        beyond = max(1.0, k / _TUNED_HITS)
        depth = self.depth * (1 if tuned else _FILTERED_DEPTH) * beyond**_DEPTH_GROWTH
        return Width(
            nprobe=math.ceil(self.nprobe / (share / beyond**_NPROBE_GROWTH)),
            depth=max(math.ceil(depth), k),
            list_margin=self.list_margin * beyond**_MARGIN_GROWTH if tuned else 0.0,
            depth_ratio=self.depth_ratio if tuned else 0.0,
        )


def width_of(info: builds.IndexInfo) -> Width:
    """How widely a build is searched."""
    return Width(info.nprobe, info.rerank_depth, info.list_margin, info.depth_ratio)
