import numpy as np
import pytest

from benchmarks.truth.pairs.nearest import false_among, nearest_pairs, surroundings
from tests.support.images.textured import textured
from tests.support.make_job import unit


@pytest.mark.parametrize("count", [1, 40, 100_000])
def test_the_nearest_pairs_are_those_of_comparing_all(count: int) -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(700, 16)))
    pairs, alike = nearest_pairs(vectors, count)
    first, second = np.triu_indices(700, 1)
    products = (vectors[first] * vectors[second]).sum(axis=1)
    order = np.argsort(-products, kind="stable")[:count]
    assert len(pairs) == min(count, 700 * 699 // 2)
    assert np.allclose(alike, products[order], atol=1e-6)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs)
    if count == 40:
        assert {tuple(pair) for pair in pairs.tolist()} == set(zip(first[order], second[order], strict=True))


def test_pairs_that_are_known_are_left_out_and_others_come_for_them() -> None:
    vectors = unit(np.random.default_rng(1).normal(size=(300, 8)))
    first, _ = nearest_pairs(vectors, 20)
    seen = frozenset((one, other) for one, other in first.tolist())
    second, alike = nearest_pairs(vectors, 20, seen)
    both, every = nearest_pairs(vectors, 40)
    assert second.tolist() == both[20:].tolist()
    assert alike.tolist() == every[20:].tolist()


def test_things_on_one_floor_have_like_surroundings() -> None:
    floors = [textured(seed) for seed in (1, 2)]
    scenes = []
    for floor in floors:
        for colour in ((200, 30, 30), (20, 40, 210)):
            scene = floor.copy()
            scene[60:180, 80:240] = colour
            scenes.append(surroundings(scene))
    one_floor, other_floor = scenes[0] @ scenes[1], scenes[0] @ scenes[2]
    assert one_floor > 0.999 > other_floor
    assert all(np.linalg.norm(scene) == pytest.approx(1) for scene in scenes)
    assert np.isfinite(surroundings(np.zeros((50, 50, 3), np.uint8))).all()


def test_false_pairs_are_named_with_their_proof() -> None:
    pairs, alike = np.array([[0, 2], [1, 2]]), np.array([0.9, 0.8], np.float32)
    found = false_among(pairs, alike, ["a", "b", "c"], ["", "same picture: 9 matching points"])
    assert (found["pairs"], found["false"], found["alike"]) == (2, 1, [0.8, 0.9])
    assert found["wrong"] == [{"query": "b", "stored": "c", "proof": "same picture: 9 matching points", "alike": 0.8}]
    assert false_among(pairs[:0], alike[:0], [], [])["alike"] == []
