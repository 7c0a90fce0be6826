"""The learned projection: what alterations change counts less, in as many dimensions as were asked for."""

import numpy as np
from numpy.typing import NDArray

from workers.evaluate.fusion.learning import DIMENSIONS, learn
from workers.evaluate.fusion.measuring import found_first

WIDTH, IMAGES, EACH = 60, 40, 4
Floats = NDArray[np.float32]


def collection(seed: int = 0) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Images that differ a little in all values, and copies that differ from them much in five of these."""
    random = np.random.default_rng(seed)
    images = random.normal(size=(IMAGES, WIDTH)).astype(np.float32) * 0.3
    originals = np.repeat(np.arange(IMAGES), EACH)
    changes = np.zeros((len(originals), WIDTH), np.float32)
    changes[:, :5] = random.normal(size=(len(originals), 5)) * 4
    changes += random.normal(size=changes.shape).astype(np.float32) * 0.05
    return images, images[originals] + changes, originals


def unit(values: Floats) -> Floats:
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


def test_it_finds_what_alterations_hid() -> None:
    images, copies, originals = collection()
    taught = originals < IMAGES // 2
    made = learn(images[: IMAGES // 2], copies[taught], originals[taught])
    asked, of = copies[~taught], originals[~taught]
    plain = found_first(unit(images), unit(asked), of).mean()
    fused = found_first(unit(made.of(images)), unit(made.of(asked)), of).mean()
    assert plain < 0.7
    assert fused > 0.9


def test_the_same_images_give_the_same_projection() -> None:
    assert learn(*collection()).to_bytes() == learn(*collection()).to_bytes()


def test_it_has_as_many_dimensions_as_asked_for_or_as_there_are() -> None:
    images, copies, originals = collection()
    assert learn(images, copies, originals).dim == min(DIMENSIONS, WIDTH)
    fewer = learn(images, copies, originals, 7)
    assert (fewer.dim, fewer.width) == (7, WIDTH)
    assert fewer.matrix.dtype == fewer.mean.dtype == np.float32
    few = learn(images[:3], copies[:2], originals[:2])
    assert 1 <= few.dim <= 5


def test_images_that_are_all_one_have_no_direction_that_tells_them_apart() -> None:
    same = np.ones((10, WIDTH), np.float32)
    assert learn(same, same, np.arange(10)).dim == 0


def test_copies_that_are_their_originals_teach_nothing_and_do_no_harm() -> None:
    images, _, _ = collection()
    made = learn(images, images, np.arange(IMAGES))
    assert np.isfinite(made.matrix).all()
    assert found_first(unit(made.of(images)), unit(made.of(images)), np.arange(IMAGES)).all()
