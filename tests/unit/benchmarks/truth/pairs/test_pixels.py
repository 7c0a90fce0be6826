import cv2
import numpy as np
import pytest

from benchmarks.truth.pairs.pixels import Asked, false_among, may_be, squares
from tests.support.images.textured import textured
from workers.verify.features import LocalFeatures, local_features
from workers.verify.pixels import same_pixels

PICTURES = [textured(seed) for seed in range(12)]
STORED = [LocalFeatures.from_bytes(local_features(picture).to_bytes()) for picture in PICTURES]
NAMES = [f"{number}.jpg" for number in range(12)]


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_no_pair_of_the_same_pixels_is_left_out_however_it_is_turned(turns: int, mirrored: bool) -> None:
    turned = [np.ascontiguousarray(np.rot90(one[:, ::-1] if mirrored else one, turns)) for one in PICTURES]
    small = [np.asarray(cv2.resize(one, (140, 110), interpolation=cv2.INTER_AREA), np.uint8) for one in turned]
    same = {
        (first, second)
        for first in range(12)
        for second in range(12)
        if same_pixels(small[first], STORED[second]) is not None
    }
    assert same == {(number, number) for number in range(12)}
    found = set(may_be(squares(small), squares(STORED)))
    assert same <= found
    assert len(found) < 24


def test_each_pair_of_the_stored_is_asked_once_and_a_twin_is_named() -> None:
    stored = [*STORED, local_features(PICTURES[3])]
    asked = [Asked(name, picture, number) for number, (name, picture) in enumerate(zip(NAMES, PICTURES, strict=True))]
    asked.append(Asked("twin.jpg", PICTURES[3], 12))
    found = false_among(iter(asked), stored, [*NAMES, "twin.jpg"], half=True)
    assert (found["pairs"], found["false"]) == (13 * 12 // 2, 1)
    assert found["wrong"] == [{"query": "3.jpg", "stored": "twin.jpg"}]


def test_a_copy_is_asked_of_all_but_its_own_original() -> None:
    copy = Asked("3.jpg, flip", np.ascontiguousarray(PICTURES[3][:, ::-1]), 3)
    assert false_among([copy], STORED, NAMES, half=False) == {"pairs": 11, "compared": 0, "false": 0, "wrong": []}
    stray = Asked("3.jpg, flip", copy.pixels, 5)
    assert false_among([stray], STORED, NAMES, half=False)["wrong"] == [{"query": "3.jpg, flip", "stored": "3.jpg"}]
