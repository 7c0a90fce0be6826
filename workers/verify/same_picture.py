"""Prove by matching points and aligned cells that a hit shows the picture of a query, whole or in part."""

from dataclasses import dataclass

import numpy as np

from shared.messages.verdicts import Evidence
from workers.verify.cells import Cells, aligned_cells
from workers.verify.descriptors import mirrored
from workers.verify.features import LocalFeatures
from workers.verify.matching import matched, matched_near
from workers.verify.region import evidence_of, overlaps
from workers.verify.richness import LEAST_RICH, richness
from workers.verify.transform import TOLERANCE, Fit, fitted, refitted, scale_of

# What proves a picture, any of these: at least so many inliers, aligned cells, and their share of the compared ones.
# Two garments on one floor, from one place, have had 81 inliers and .46 of the cells (see docs/verification.md).
_PROOFS = ((40, 20, 0.5), (8, 24, 0.55), (8, 8, 0.65), (4, 28, 0.7))
# A region that is less than this of both images may be a logo, or a bare part of one floor. Of copies that were
# cropped, framed, or cropped and pasted into a collage, none had less than .78 of one of the two.
_LEAST_OVERLAP = 0.6


def verify(query: LocalFeatures, candidate: LocalFeatures) -> Evidence | None:
    """The evidence that `candidate` shows the picture of `query`, mirrored or not; None where it is not proved.

    Matching points must agree on one transform, and most of the cells that it lays over each other must show the same:
    the more, the fewer points and cells there are. Points alone prove nothing: two garments on one floor have had 81.
    """
    for is_mirrored in (False, True):
        found = compared(query, candidate, is_mirrored)
        if found is None or not is_proof(found.fit.inliers, found.cells):
            continue
        sizes = (query.width, query.height), (candidate.width, candidate.height)
        evidence = evidence_of(found.fit.matrix, *sizes, found.fit.inliers, found.cells.share)
        if _is_rich(evidence, candidate):
            return evidence
    return None


def is_proof(inliers: int, cells: Cells) -> bool:
    """Whether so many matching points, and cells that show the same, prove one picture."""
    return any(
        inliers >= points and cells.aligned >= aligned and cells.share >= share for points, aligned, share in _PROOFS
    )


@dataclass(frozen=True, eq=False, slots=True)
class Comparison:
    """The best transform between two images, and the cells that it lays over each other."""

    fit: Fit
    cells: Cells


def compared(query: LocalFeatures, candidate: LocalFeatures, is_mirrored: bool) -> Comparison | None:
    """The transform that most matching points agree on, from the query to the mirrored or plain candidate, if any."""
    bits = mirrored(candidate.bits) if is_mirrored else candidate.bits
    pairs = matched(query.bits, bits)
    sizes = (query.width, query.height), (candidate.width, candidate.height)
    ours, theirs = query.points.astype(np.float64), candidate.points.astype(np.float64)
    fit = fitted(ours[pairs[:, 0]], theirs[pairs[:, 1]], *sizes, is_mirrored)
    if fit is None or max(overlaps(fit.matrix, *sizes)) < _LEAST_OVERLAP:
        return None
    # More points match once it is known where to look, which tells the transform more exactly.
    brought = ours @ fit.matrix[:, :2].T + fit.matrix[:, 2]
    pairs = matched_near(query.bits, bits, brought, theirs, TOLERANCE / scale_of(sizes[1]))
    refined = refitted(ours[pairs[:, 0]], theirs[pairs[:, 1]], *sizes, is_mirrored)
    if refined is not None and refined.inliers > fit.inliers:
        fit = refined
    return Comparison(fit, aligned_cells(query.grey, candidate.grey, fit.matrix, *sizes))


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
