"""Fit the transform that most matching points agree on, and refuse one that no copy would have."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Transforms are fitted in images of this many pixels, so that one tolerance serves all sizes.
_PIXELS = 320 * 240
TOLERANCE = 4.0
_ITERATIONS = 1_000
_CONFIDENCE = 0.999
_FEWEST = 4
# A copy may be much larger or smaller than its original, and squashed, but no more than this.
_SCALES = (1 / 12, 12.0)
_MOST_SQUASHED = 2.5
# Points nearer than this to each other are one: SIFT gives a spot several directions.
_APART = 2.0
# Points on a line, or in one spot, say nothing of the transform across it: standard deviation across.
_NARROWEST = 1.5
# A perspective has two more parameters than an affine transform. Copies that were not photographed lie within .6 of
# their originals, mostly, and need none.
_ASKEW = 0.6
_FEWEST_ASKEW = 16
_NEARER = 0.7
_MOST_ASKEW = 1.6


@dataclass(frozen=True, eq=False, slots=True)
class Fit:
    """`matrix`, float64 [2, 3], brings pixels of the query to those of the hit; `inliers` distinct points agree.

    `away` is how far from each other it brings them: the median, in units in which an image has 320 x 240 pixels.
    """

    matrix: Array
    inliers: int
    away: float


def fitted(
    query: Array, hit: Array, query_size: tuple[int, int], hit_size: tuple[int, int], mirrored: bool
) -> Fit | None:
    """The transform of matching points, float64 [n, 2] in pixels of images of (width, height); None without a sane one.

    An affine transform and one that only turns and scales are tried, and the one that explains more points is taken.
    The same points give the same transform: OpenCV's sampling starts from a seed of its own.
    """
    if len(query) < _FEWEST:
        return None
    ours, theirs = query * scale_of(query_size), hit * scale_of(hit_size)
    fits = [
        _checked(np.asarray(found, np.float64), ours, theirs, query_size, hit_size, mirrored)
        for found in (_affine(ours, theirs), _similar(ours, theirs, mirrored))
        if found is not None
    ]
    return max((fit for fit in fits if fit is not None), key=lambda fit: fit.inliers, default=None)


def _affine(ours: Array, theirs: Array) -> Array | None:
    found, _ = cv2.estimateAffine2D(
        ours,
        theirs,
        method=cv2.USAC_MAGSAC,
        ransacReprojThreshold=TOLERANCE,
        maxIters=_ITERATIONS,
        confidence=_CONFIDENCE,
    )
    return None if found is None else np.asarray(found, np.float64)


def _similar(ours: Array, theirs: Array, mirrored: bool) -> Array | None:
    """A transform that turns and scales, from two points: it is found where most of a few matches are wrong."""
    sides = np.array([[-1.0], [1.0]]) if mirrored else np.ones((2, 1))
    found, _ = cv2.estimateAffinePartial2D(
        ours,
        theirs * sides[:, 0],
        method=cv2.RANSAC,
        ransacReprojThreshold=TOLERANCE,
        maxIters=_ITERATIONS,
        confidence=_CONFIDENCE,
    )
    return None if found is None else np.asarray(found * sides, np.float64)


def refitted(
    query: Array, hit: Array, query_size: tuple[int, int], hit_size: tuple[int, int], mirrored: bool
) -> Fit | None:
    """As `fitted`, by least squares, for points that agree already."""
    if len(query) < _FEWEST:
        return None
    ours, theirs = query * scale_of(query_size), hit * scale_of(hit_size)
    solved, *_ = np.linalg.lstsq(np.column_stack([ours, np.ones(len(ours))]), theirs, rcond=None)
    return _checked(np.asarray(solved.T, np.float64), ours, theirs, query_size, hit_size, mirrored)


def perspective(query: Array, hit: Array, query_size: tuple[int, int], hit_size: tuple[int, int], fit: Fit) -> Array:
    """What brings pixels of the query to those of the hit, float64 [3, 3], where the query was photographed askew.

    `query` and `hit` are matching points, float64 [n, 2]. It is `fit.matrix`, unless a perspective brings the points
    that `fit` explains much nearer to each other.
    """
    whole = np.vstack([fit.matrix, [0, 0, 1]])
    if fit.away < _ASKEW:
        return whole
    near = np.linalg.norm(_through(whole, query) - hit, axis=1) * scale_of(hit_size) <= TOLERANCE
    if near.sum() < _FEWEST_ASKEW:
        return whole
    ours, theirs = query[near] * scale_of(query_size), hit[near] * scale_of(hit_size)
    found, _ = cv2.findHomography(ours, theirs, 0)
    if found is None or not np.isfinite(found).all():
        return whole
    away = float(np.median(np.linalg.norm(_through(np.asarray(found), ours) - theirs, axis=1)))
    # It must not fold the picture: the depth of its corners is on one side of the eye, and differs little.
    width, height = query_size[0] * scale_of(query_size), query_size[1] * scale_of(query_size)
    depths = np.array([[x, y, 1.0] for x in (0, width) for y in (0, height)]) @ found[2]
    if away > _NEARER * fit.away or depths.min() <= 0 or depths.max() > _MOST_ASKEW * depths.min():
        return whole
    back, there = np.diag([1 / scale_of(hit_size)] * 2 + [1.0]), np.diag([scale_of(query_size)] * 2 + [1.0])
    return np.asarray(back @ found @ there, np.float64)


def _through(matrix: Array, points: Array) -> Array:
    """Points, float64 [n, 2], where `matrix`, float64 [3, 3], brings them."""
    brought = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(brought[:, :2] / brought[:, 2:], np.float64)


def scale_of(size: tuple[int, int]) -> float:
    """What brings pixels of an image of (width, height) to those that `TOLERANCE` counts."""
    return math.sqrt(_PIXELS / (size[0] * size[1]))


def _checked(
    matrix: Array, ours: Array, theirs: Array, query_size: tuple[int, int], hit_size: tuple[int, int], mirrored: bool
) -> Fit | None:
    if not np.isfinite(matrix).all() or not _is_sane(matrix[:, :2], mirrored):
        return None
    away = np.linalg.norm(ours @ matrix[:, :2].T + matrix[:, 2] - theirs, axis=1)
    near = away <= TOLERANCE
    inliers = min(_distinct(ours[near]), _distinct(theirs[near]))
    if inliers < _FEWEST or _breadth(theirs[near]) < _NARROWEST:
        return None
    moved = np.column_stack([matrix[:, :2] * scale_of(query_size), matrix[:, 2]])
    return Fit(moved / scale_of(hit_size), inliers, float(np.median(away[near])))


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
