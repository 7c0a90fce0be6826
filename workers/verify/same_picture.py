"""Prove by matching points and aligned cells that a hit shows the picture of a query, whole or in part."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from shared.messages.verdicts import Evidence
from workers.verify.agreement.cells import Cells, aligned_cells
from workers.verify.agreement.colours import Colours, are_colours_other
from workers.verify.agreement.light import light_of
from workers.verify.descriptors import mirrored
from workers.verify.features import LocalFeatures
from workers.verify.matching import matched, matched_near
from workers.verify.region import evidence_of, overlaps
from workers.verify.richness import LEAST_RICH, richness
from workers.verify.transform import TOLERANCE, Fit, fitted, perspective, refitted, scale_of


class _Proof(NamedTuple):
    """At least so many inliers and aligned cells, and such a share of the compared cells, prove a picture where the
    cells are within these grey values of one light, and the points within so much of each other."""

    inliers: int
    aligned: int
    share: float
    uneven: float = math.inf
    even: float = math.inf
    away: float = math.inf


# Garments on one floor, photographed from one place, have had 85 inliers, .64 of the cells, and .54 in one light (see
# docs/verification.md). The light of a copy is one to a grey value or two, but for strong filters and prints; a curve
# and more light on one side come as near to that on one patterned rug. A copy's points lie on each other to a fraction
# of a pixel, those of two photographs half a pixel apart and more.
_PROOFS = (
    _Proof(8, 8, 0.8),
    _Proof(16, 20, 0.7, uneven=5.0),
    _Proof(16, 20, 0.64, uneven=3.5),
    _Proof(4, 28, 0.7, uneven=3.5),
    _Proof(8, 24, 0.62, even=2.5),
    _Proof(8, 8, 0.65, even=2.5),
    _Proof(12, 24, 0.56, even=2.0, away=0.7),
    _Proof(20, 24, 0.5, even=2.0, away=0.5),
    _Proof(40, 24, 0.42, even=2.0, away=0.4),
)
_LEAST_SHARE = min(proof.share for proof in _PROOFS)
# Below this share a light is to be small beside what it explains: any light explains a plain wall.
_PLAIN_SHARE, _LEAST_RANGE = 0.56, 4.0
# A region that is less than this of both images may be a logo, or a bare part of one floor. Of copies that were
# cropped, framed, or cropped and pasted into a collage, none had less than .78 of one of the two.
_LEAST_OVERLAP = 0.6


def verify(query: LocalFeatures, candidate: LocalFeatures) -> Evidence | None:
    """The evidence that `candidate` shows the picture of `query`, mirrored or not; None where it is not proved.

    Matching points must agree on one transform, and most of the cells that it lays over each other must show the same,
    in one light and with one change of colours. Points alone prove nothing: two garments on one floor have had 85.
    """
    for is_mirrored in (False, True):
        found = compared(query, candidate, is_mirrored)
        if found is None or not is_proof(found.fit, found.cells):
            continue
        if are_colours_other(_colours(query), _colours(candidate), found.fit.matrix, found.cells):
            continue
        sizes = (query.width, query.height), (candidate.width, candidate.height)
        evidence = evidence_of(found.fit.matrix, *sizes, found.fit.inliers, found.cells.share)
        if _is_rich(evidence, candidate):
            return evidence
    return None


def is_proof(fit: Fit, cells: Cells) -> bool:
    """Whether so many matching points, and cells that show the same in one light, prove one picture."""
    if cells.share < _LEAST_SHARE:
        return False
    light = light_of(cells)
    is_plain = cells.share < _PLAIN_SHARE and light.range < _LEAST_RANGE * light.uneven
    return not is_plain and any(
        fit.inliers >= proof.inliers
        and cells.aligned >= proof.aligned
        and cells.share >= proof.share
        and light.uneven <= proof.uneven
        and light.even <= proof.even
        and fit.away <= proof.away
        for proof in _PROOFS
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
    bent = perspective(ours[pairs[:, 0]], theirs[pairs[:, 1]], *sizes, fit)
    return Comparison(fit, aligned_cells(query.grey, candidate.grey, bent, *sizes))


def _colours(features: LocalFeatures) -> Colours:
    return Colours((features.width, features.height), features.colours, features.grey)


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
