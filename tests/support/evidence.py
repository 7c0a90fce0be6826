"""Evidence of verdicts, made up."""

from shared.messages.verdicts import Evidence

SQUARE = ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0))


def evidence(inliers: int = 40, *, hit_overlap: float = 1.0, turned: float = 0.0, mirrored: bool = False) -> Evidence:
    """Evidence of a query that is a hit with a part of it cut away, or turned."""
    matrix = ((1.0, 0.0, 2.0), (0.0, 1.0, 3.0))
    return Evidence(inliers, 0.9, matrix, SQUARE, SQUARE, 1.0, hit_overlap, turned, mirrored)
