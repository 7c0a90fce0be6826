"""Prove by matching points and aligned cells that a hit shows the picture of a query, whole or in part."""

import numpy as np
from numpy.typing import NDArray

from shared.messages.verdicts import Evidence
from workers.verify.cells import aligned_cells
from workers.verify.descriptors import mirrored
from workers.verify.features import LocalFeatures
from workers.verify.matching import matched
from workers.verify.region import evidence_of, overlaps
from workers.verify.richness import LEAST_RICH, richness
from workers.verify.transform import fitted

FEWEST_INLIERS = 8
LEAST_ALIGNED = 0.5
# Fewer cells that show the same are a corner of something, not a picture.
_FEWEST_CELLS = 8
# A region that is less than this of both images may be a logo that two pictures share.
_LEAST_OVERLAP = 0.2


def verify(query: LocalFeatures, candidate: LocalFeatures) -> Evidence | None:
    """The evidence that `candidate` shows the picture of `query`, mirrored or not; None where it is not proved.

    At least eight matching points must agree on one transform, and at least half of the cells that it lays over each
    other must show the same. Points alone prove nothing: two garments on one wooden floor have thirty.
    """
    return _verified(query, candidate, candidate.bits, False) or _verified(
        query, candidate, mirrored(candidate.bits), True
    )


def _verified(
    query: LocalFeatures, candidate: LocalFeatures, bits: NDArray[np.uint8], is_mirrored: bool
) -> Evidence | None:
    pairs = matched(query.bits, bits)
    if len(pairs) < FEWEST_INLIERS:
        return None
    sizes = (query.width, query.height), (candidate.width, candidate.height)
    ours = query.points[pairs[:, 0]].astype(np.float64)
    theirs = candidate.points[pairs[:, 1]].astype(np.float64)
    fit = fitted(ours, theirs, *sizes, is_mirrored)
    if fit is None or fit.inliers < FEWEST_INLIERS or max(overlaps(fit.matrix, *sizes)) < _LEAST_OVERLAP:
        return None
    cells = aligned_cells(query.grey, candidate.grey, fit.matrix, *sizes)
    if cells.aligned < _FEWEST_CELLS or cells.share < LEAST_ALIGNED:
        return None
    evidence = evidence_of(fit.matrix, *sizes, fit.inliers, cells.share)
    return evidence if _is_rich(evidence, candidate) else None


def _is_rich(evidence: Evidence, hit: LocalFeatures) -> bool:
    """Whether the region shows enough to be told from other pictures of its kind, as one letter does not."""
    scale = np.array([hit.grey.shape[1] / hit.width, hit.grey.shape[0] / hit.height])
    (left, top), (right, bottom) = (
        rounded.astype(int)
        for rounded in (
            np.floor(np.min(evidence.hit_quad, axis=0) * scale),
            np.ceil(np.max(evidence.hit_quad, axis=0) * scale),
        )
    )
    return richness(hit.grey[top:bottom, left:right]) >= LEAST_RICH
