"""Keypoints of two images that match: each the nearest of the other's, and much nearer than the next."""

import cv2
import numpy as np

from workers.verify.matching import MOST_BITS, RATIO, matched


def test_a_row_matches_its_nearest_where_the_next_is_much_farther_and_no_row_twice() -> None:
    query = np.random.default_rng(0).integers(0, 256, (40, 16), dtype=np.uint8)
    query[20] = query[21] = query[22]  # A texture that repeats.
    hit = query[[5, 20, 7, 5]].copy()
    hit[0, 0] ^= 1  # One bit off: the last row is nearer to the same keypoint.
    assert matched(query, hit).tolist() == [[5, 3], [7, 2]]
    assert len(matched(query[:1], hit)) == len(matched(query, hit[:0])) == 0


def test_the_pairs_are_those_of_opencv() -> None:
    rng = np.random.default_rng(1)
    query = rng.integers(0, 256, (300, 16), dtype=np.uint8)
    noise = np.packbits(rng.random((170, 128)) < rng.uniform(0, 0.4, (170, 1)), axis=1)
    hit = query[rng.integers(0, 300, 170)] ^ noise
    distances, nearest = cv2.batchDistance(hit, query, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=2)
    good = (distances[:, 0] <= MOST_BITS) & (distances[:, 0] < RATIO * distances[:, 1])
    assert 20 < good.sum() < 170
    found = matched(query, hit)
    assert {ours for ours, _ in found.tolist()} == set(nearest[good, 0].tolist())
    assert all(good[theirs] and nearest[theirs, 0] == ours for ours, theirs in found.tolist())
