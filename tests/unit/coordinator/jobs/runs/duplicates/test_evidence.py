"""Evidence turned around says the same of the pair."""

import numpy as np
import pytest

from coordinator.jobs.runs.duplicates.evidence import turned_around
from shared.messages.verdicts import Evidence


def evidence(degrees: float, mirrored: bool) -> Evidence:
    """Of a hit of which a part is turned so far in the query."""
    angle = np.radians(-degrees)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        linear = np.diag([-1.0, 1.0]) @ linear
    moved = np.array([50.0, 40.0])
    corners = np.array([[10, 10], [90, 12], [88, 60], [9, 61]], float)
    quads = [tuple(map(tuple, some.tolist())) for some in (corners, corners @ linear.T + moved)]
    rows = [tuple(row) for row in np.column_stack([linear, moved]).tolist()]
    return Evidence(9, 0.8, (rows[0], rows[1]), quads[0], quads[1], 0.4, 0.7, degrees, mirrored)  # type: ignore[arg-type]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, -90.0, 180.0])
def test_twice_turned_around_it_is_as_it_was(degrees: float, mirrored: bool) -> None:
    there = evidence(degrees, mirrored)
    back = turned_around(there)
    assert (back.query_overlap, back.hit_overlap, back.mirrored) == (0.7, 0.4, mirrored)
    assert back.turned == (degrees if mirrored or degrees == 180 else -degrees)
    whole = np.vstack([there.matrix, [0, 0, 1]]) @ np.vstack([back.matrix, [0, 0, 1]])
    assert whole == pytest.approx(np.eye(3), abs=1e-9)
    pairs = {tuple(np.round((*one, *other), 6)) for one, other in zip(there.query_quad, there.hit_quad, strict=True)}
    assert pairs == {
        tuple(np.round((*one, *other), 6)) for one, other in zip(back.hit_quad, back.query_quad, strict=True)
    }
    assert sum(back.query_quad[0]) == min(map(sum, back.query_quad))
    x, y = np.array(back.query_quad).T
    assert (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0, "clockwise"
    assert turned_around(back).turned == there.turned
