import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.verify.region import evidence_of, overlaps
from workers.verify.transform import Fit, fitted, perspective

SIZE = (400, 300)


def turned(
    degrees: float, scale: float = 1.0, mirrored: bool = False, moved: tuple[float, float] = (0, 0)
) -> np.ndarray:
    """From the hit to the query: mirrored left to right, then turned clockwise about its middle: float64 [2, 3]."""
    angle = np.radians(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    middle = np.array(SIZE) / 2
    return np.column_stack([linear, middle - linear @ middle + moved])


def inverse(matrix: np.ndarray) -> np.ndarray:
    back = np.linalg.inv(matrix[:, :2])
    return np.column_stack([back, -back @ matrix[:, 2]])


def points(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, SIZE, (count, 2))


def brought(matrix: np.ndarray, given: np.ndarray) -> np.ndarray:
    return given @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 17, 90, 180, -120])
def test_the_transform_is_found_among_points_that_disagree(degrees: float, mirrored: bool) -> None:
    matrix = turned(degrees, 0.7, mirrored, (12, -5))
    query, hit = points(60), brought(matrix, points(60))
    hit[30:] = points(30, seed=1)
    fit = fitted(query, hit, SIZE, SIZE, mirrored)
    assert fit is not None
    assert 28 <= fit.inliers <= 33
    assert np.allclose(fit.matrix[:, :2], matrix[:, :2], atol=0.01)
    other = fitted(query, hit, SIZE, SIZE, not mirrored)
    assert other is None or other.inliers < 10  # What chance agrees on.


def test_sizes_do_not_change_what_agrees() -> None:
    query, hit = points(40), brought(turned(30), points(40)) + np.random.default_rng(3).normal(0, 1, (40, 2))
    small = fitted(query, hit, SIZE, SIZE, False)
    large = fitted(query * 10, hit * 3, (4_000, 3_000), (1_200, 900), False)
    assert small is not None
    assert large is not None
    assert small.inliers == large.inliers
    assert np.allclose(small.matrix[:, :2], large.matrix[:, :2] * 10 / 3, atol=1e-3)


def test_the_same_points_give_the_same_transform_whatever_ran_before() -> None:
    query, hit = points(80), brought(turned(10), points(80))
    hit[::2] = points(40, seed=2)
    first = fitted(query, hit, SIZE, SIZE, False)
    for seed in range(5):
        cv2.setRNGSeed(seed)
        again = fitted(query, hit, SIZE, SIZE, False)
        assert first is not None
        assert again is not None
        assert np.array_equal(again.matrix, first.matrix)
        assert again.inliers == first.inliers


@pytest.mark.parametrize(
    "matrix",
    [
        np.array([[1.0, 0, 0], [0, 0.2, 0]]),  # Squashed to a fifth.
        np.array([[1.0, 3.0, 0], [0, 1.0, 0]]),  # Sheared to a stripe.
        np.array([[0.01, 0, 200], [0, 0.01, 150]]),  # All on one spot.
        np.array([[1.0, 1.0, 0], [1.0, 1.0, 0]]),  # All on one line.
        np.array([[30.0, 0, 0], [0, 30.0, 0]]),
    ],
)
def test_a_transform_that_no_copy_has_is_refused(matrix: np.ndarray) -> None:
    given = points(40)
    assert fitted(given, brought(matrix, given), SIZE, SIZE, False) is None


@pytest.mark.parametrize("along", [np.array([0.0, 1.0]), np.array([1.0, 0.0])])
def test_points_on_a_line_or_in_one_spot_are_refused(along: np.ndarray) -> None:
    line = points(40) * along + 30
    assert fitted(line, line, SIZE, SIZE, False) is None
    spot = np.tile(points(1), (40, 1)) + np.random.default_rng(0).normal(0, 0.5, (40, 2))
    assert fitted(spot, spot, SIZE, SIZE, False) is None


def test_many_directions_of_one_spot_count_once() -> None:
    few = points(6)
    many = np.repeat(few, 10, axis=0)
    fit = fitted(many, many, SIZE, SIZE, False)
    assert fit is not None
    assert fit.inliers <= 6


def test_none_one_or_three_points_have_no_transform() -> None:
    for count in range(4):
        assert fitted(points(count), points(count), SIZE, SIZE, False) is None


@given(
    degrees=st.integers(-179, 180),
    mirrored=st.booleans(),
    scale=st.floats(0.3, 3),
    moved=st.tuples(st.floats(-60, 60), st.floats(-60, 60)),
)
def test_evidence_says_how_the_hit_lies_in_the_query(
    degrees: int, mirrored: bool, scale: float, moved: tuple[float, float]
) -> None:
    matrix = inverse(turned(degrees, scale, mirrored, moved))
    evidence = evidence_of(matrix, SIZE, SIZE, 20, 0.8)
    assert (evidence.turned, evidence.mirrored) == (float(degrees), mirrored)
    quad, in_hit = np.array(evidence.query_quad), np.array(evidence.hit_quad)
    assert np.abs(brought(matrix, quad) - in_hit).max() < 0.5
    for corners in (quad, in_hit):
        assert (corners >= 0).all()
        assert (corners <= SIZE).all()
    # Shares: by how many points of a fine grid are in the other image too.
    grid = np.stack(np.meshgrid(np.arange(400) + 0.5, np.arange(300) + 0.5), axis=-1).reshape(-1, 2)
    for way, share in ((matrix, evidence.query_overlap), (inverse(matrix), evidence.hit_overlap)):
        there = brought(way, grid)
        assert share == pytest.approx(((there >= 0) & (there <= SIZE)).all(axis=1).mean(), abs=0.02)
    assert overlaps(matrix, SIZE, SIZE) == (evidence.query_overlap, evidence.hit_overlap)


def test_a_crop_is_the_whole_query_and_its_place_in_the_hit() -> None:
    evidence = evidence_of(np.array([[0.5, 0, 100], [0, 0.5, 50]]), (200, 200), SIZE, 9, 1.0)
    assert evidence.query_quad == ((0, 0), (200, 0), (200, 200), (0, 200))
    assert evidence.hit_quad == ((100, 50), (200, 50), (200, 150), (100, 150))
    assert (evidence.query_overlap, evidence.hit_overlap) == (1.0, round(10_000 / 120_000, 4))


def test_a_corner_that_both_share_may_be_a_triangle_or_have_six_corners() -> None:
    for degrees in range(0, 360, 15):
        for moved in ((0, 0), (190, 140), (240, 0)):
            evidence = evidence_of(inverse(turned(degrees, 1.0, False, moved)), SIZE, SIZE, 9, 1.0)
            x, y = np.array(evidence.query_quad).T
            area = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
            assert 0 <= area <= evidence.query_overlap * 120_000 + 100, "clockwise, and inside of the region"
            assert area >= 0.5 * evidence.query_overlap * 120_000


def test_what_lies_apart_has_no_evidence() -> None:
    matrix = turned(0, 1.0, False, (1_000, 0))
    assert overlaps(matrix, SIZE, SIZE) == (0, 0)
    with pytest.raises(ValueError, match="no part"):
        evidence_of(matrix, SIZE, SIZE, 9, 1.0)


def askew(given: np.ndarray, by: float) -> np.ndarray:
    """Points of SIZE as they are in a photograph of it from one side."""
    depth = 1 + by * given[:, :1] / SIZE[0]
    return given / depth


def test_points_of_a_print_that_was_photographed_have_a_perspective() -> None:
    query = points(80)
    hit = askew(query, 0.15)
    fit = fitted(query, hit, SIZE, SIZE, False)
    assert fit is not None
    bent = perspective(query, hit, SIZE, SIZE, fit)
    back = np.column_stack([query, np.ones(80)]) @ bent.T
    assert np.allclose(back[:, :2] / back[:, 2:], hit, atol=0.2)
    # In other pixels on either side as well.
    large = Fit(fit.matrix * [0.5, 0.5, 1], fit.inliers, fit.away)
    bent = perspective(query * 2, hit, (800, 600), SIZE, large)
    back = np.column_stack([query * 2, np.ones(80)]) @ bent.T
    assert np.allclose(back[:, :2] / back[:, 2:], hit, atol=0.2)


def test_points_that_an_affine_transform_explains_or_that_are_few_have_none() -> None:
    query = points(80)
    noisy = query + np.random.default_rng(5).normal(0, 1.2, query.shape)
    for ours, theirs in ((query, query), (query, noisy), (query[:12], askew(query, 0.15)[:12])):
        fit = fitted(ours, theirs, SIZE, SIZE, False)
        assert fit is not None
        assert np.array_equal(perspective(ours, theirs, SIZE, SIZE, fit)[2], [0, 0, 1])


def test_the_transform_says_how_far_apart_its_points_are() -> None:
    query = points(60)
    near = fitted(query, query, SIZE, SIZE, False)
    far = fitted(query, query + np.random.default_rng(6).normal(0, 1.5, query.shape), SIZE, SIZE, False)
    assert near is not None
    assert far is not None
    assert near.away < 0.01
    assert 0.8 < far.away < 2.5
