"""Make the evidence of a transform: the region that query and hit share, its share of each, turned and mirrored."""

import numpy as np
from numpy.typing import NDArray

from shared.messages.verdicts import Evidence, Quad

Array = NDArray[np.float64]


def evidence_of(
    matrix: Array, query_size: tuple[int, int], hit_size: tuple[int, int], inliers: int, aligned: float
) -> Evidence:
    """The evidence of `matrix`, float64 [2, 3], from pixels of the query to those of the hit; sizes: (width, height).

    Raises ValueError if the transform leaves no region that both show.
    """
    linear, moved = matrix[:, :2], matrix[:, 2]
    back = np.asarray(np.linalg.inv(linear), np.float64)
    shared = _clipped((_corners(*hit_size) - moved) @ back.T, *query_size)
    area = _area(shared)
    if len(shared) < 3 or abs(area) <= 0:
        raise ValueError("the transform brings no part of the query into the hit")
    quad = _four(shared if area > 0 else shared[::-1])
    in_hit = quad @ linear.T + moved
    is_mirrored = bool(np.linalg.det(linear) < 0)
    return Evidence(
        inliers=inliers,
        aligned=round(float(aligned), 4),
        matrix=_rows(matrix),
        query_quad=_quad(quad, *query_size),
        hit_quad=_quad(in_hit, *hit_size),
        query_overlap=_share(abs(area), query_size),
        hit_overlap=_share(abs(area * np.linalg.det(linear)), hit_size),
        turned=_turned(back, is_mirrored),
        mirrored=is_mirrored,
    )


def overlaps(matrix: Array, query_size: tuple[int, int], hit_size: tuple[int, int]) -> tuple[float, float]:
    """The share of the query, and of the hit, that the region takes which both show; zeros without one."""
    back = np.linalg.inv(matrix[:, :2])
    area = abs(_area(_clipped((_corners(*hit_size) - matrix[:, 2]) @ back.T, *query_size)))
    return _share(area, query_size), _share(float(area * abs(np.linalg.det(matrix[:, :2]))), hit_size)


def _corners(width: int, height: int) -> Array:
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)


def _clipped(polygon: Array, width: int, height: int) -> Array:
    """The part of a convex polygon, float64 [n, 2], inside of (0, 0) to (width, height): float64 [m, 2]."""
    for axis, sign, limit in ((0, 1, 0), (0, -1, -width), (1, 1, 0), (1, -1, -height)):
        kept = []
        inside = sign * polygon[:, axis] - limit
        for place in range(len(polygon)):
            start, end = polygon[place - 1], polygon[place]
            before, after = inside[place - 1], inside[place]
            if (before < 0) != (after < 0):
                kept.append(start + (end - start) * (before / (before - after)))
            if after >= 0:
                kept.append(end)
        polygon = np.array(kept, np.float64).reshape(-1, 2)
    return polygon


def _area(polygon: Array) -> float:
    """The area of a polygon, positive where its points go clockwise, as y points down."""
    x, y = polygon[:, 0], polygon[:, 1]
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def _four(polygon: Array) -> Array:
    """A convex polygon with four corners, the upper left one first: of more, those go that cost least area."""
    while len(polygon) > 4:
        before, after = np.roll(polygon, 1, axis=0) - polygon, np.roll(polygon, -1, axis=0) - polygon
        polygon = np.delete(polygon, int(np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]).argmin()), 0)
    while len(polygon) < 4:
        nexts = np.roll(polygon, -1, axis=0)
        longest = int(np.linalg.norm(nexts - polygon, axis=1).argmax())
        polygon = np.insert(polygon, longest + 1, (polygon[longest] + nexts[longest]) / 2, axis=0)
    return np.roll(polygon, -int(polygon.sum(axis=1).argmin()), axis=0)


def _turned(back: Array, is_mirrored: bool) -> float:
    """By how many whole degrees the linear part from hit to query turns clockwise."""
    turning = back * np.array([-1.0, 1.0]) if is_mirrored else back  # It mirrors left to right, and then turns.
    left, _, right = np.linalg.svd(turning)
    rotation = left @ right
    degrees = round(float(np.degrees(np.arctan2(rotation[1, 0], rotation[0, 0]))))
    return 180.0 if degrees == -180 else float(degrees)


def _share(area: float, size: tuple[int, int]) -> float:
    return round(min(1.0, float(area) / (size[0] * size[1])), 4)


def _rows(matrix: Array) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    first, second = matrix.tolist()
    return (first[0], first[1], first[2]), (second[0], second[1], second[2])


def _quad(points: Array, width: int, height: int) -> Quad:
    inside = np.round(np.clip(points, 0, [width, height]), 1) + 0.0  # No -0.0.
    first, second, third, fourth = (tuple(point) for point in inside.tolist())
    return first, second, third, fourth
