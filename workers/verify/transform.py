"""Fit the affine transform that most matching points agree on, and refuse one that no copy would have."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Transforms are fitted in images of this many pixels, so that one tolerance serves all sizes.
_PIXELS = 320 * 240
_TOLERANCE = 4.0
_ITERATIONS = 1_000
_CONFIDENCE = 0.999
_FEWEST = 4
# A copy may be much larger or smaller than its original, and squashed, but no more than this.
_SCALES = (1 / 12, 12.0)
_MOST_SQUASHED = 2.5
# Points nearer than this to each other are one: SIFT gives a spot several directions.
_APART = 2.0
# Points on a line, or in one spot, say nothing of the transform across it: standard deviation across.
_NARROWEST = 4.0


@dataclass(frozen=True, eq=False, slots=True)
class Fit:
    """`matrix`, float64 [2, 3], brings pixels of the query to those of the hit; `inliers` distinct points agree."""

    matrix: Array
    inliers: int


def fitted(
    query: Array, hit: Array, query_size: tuple[int, int], hit_size: tuple[int, int], mirrored: bool
) -> Fit | None:
    """The transform of matching points, float64 [n, 2] in pixels of images of (width, height); None without a sane one.

    The same points give the same transform: OpenCV's sampling starts from a seed of its own.
    """
    if len(query) < _FEWEST:
        return None
    query_scale, hit_scale = (np.sqrt(_PIXELS / (width * height)) for width, height in (query_size, hit_size))
    ours, theirs = query * query_scale, hit * hit_scale
    found, _ = cv2.estimateAffine2D(
        ours,
        theirs,
        method=cv2.USAC_MAGSAC,
        ransacReprojThreshold=_TOLERANCE,
        maxIters=_ITERATIONS,
        confidence=_CONFIDENCE,
    )
    if found is None:
        return None
    matrix = np.asarray(found, np.float64)
    if not np.isfinite(matrix).all() or not _is_sane(matrix[:, :2], mirrored):
        return None
    away = np.linalg.norm(ours @ matrix[:, :2].T + matrix[:, 2] - theirs, axis=1)
    near = away <= _TOLERANCE
    inliers = min(_distinct(ours[near]), _distinct(theirs[near]))
    if inliers < _FEWEST or _breadth(theirs[near]) < _NARROWEST:
        return None
    return Fit(np.column_stack([matrix[:, :2] * query_scale, matrix[:, 2]]) / hit_scale, inliers)


def _is_sane(linear: Array, mirrored: bool) -> bool:
    largest, smallest = np.linalg.svd(linear, compute_uv=False)
    if smallest < _SCALES[0] or largest > _SCALES[1] or largest > _MOST_SQUASHED * smallest:
        return False
    return bool((np.linalg.det(linear) < 0) == mirrored)


def _distinct(points: Array) -> int:
    return len(np.unique(np.floor(points / _APART), axis=0))


def _breadth(points: Array) -> float:
    """The standard deviation of points in the direction in which they spread least."""
    return float(np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[-1] / np.sqrt(len(points)))
