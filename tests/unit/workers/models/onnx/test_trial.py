"""A model is tried on pictures before it embeds: what tells no two of them apart is refused in a sentence."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import ModelError
from workers.models.onnx.trial import PICTURES, try_out

Features = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


def means(batch: NDArray[np.uint8]) -> NDArray[np.float64]:
    return batch.reshape(len(batch), 2, 4, 2, 4, 3).mean(axis=(2, 4)).reshape(len(batch), -1) - 128


@dataclass
class Made:
    """A backbone of any function of its images."""

    features: Features = means
    batch_size: int = 8
    one_by_one: bool = True
    dim: int = 12
    seen: list[int] = field(default_factory=list)

    def forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert len(batch) <= self.batch_size
        self.seen.append(len(batch))
        return self.features(batch).astype(np.float32)


@pytest.mark.parametrize(("batch_size", "batches"), [(8, [8]), (32, [8]), (3, [3, 3, 2]), (1, [1] * 8)])
def test_a_model_that_sees_is_tried_in_its_own_batches_and_one_by_one(batch_size: int, batches: list[int]) -> None:
    for alone in (0, 1, PICTURES):
        model = Made(batch_size=batch_size)
        try_out(model, 8, "It", alone)
        assert model.seen == batches + [1] * alone


def refused(features: Features, alone: int = PICTURES) -> str:
    with pytest.raises(ModelError) as caught:
        try_out(Made(features), 8, "It", alone)
    return str(caught.value)


@pytest.mark.parametrize(
    "features",
    [
        lambda batch: np.ones((len(batch), 12)),
        lambda batch: np.zeros((len(batch), 12)),
        lambda batch: 1 + batch.reshape(len(batch), -1)[:, :12] * 1e-6,
        lambda batch: batch.mean(axis=(1, 2, 3), keepdims=True)[:, :, 0, 0],
    ],
    ids=["one vector", "zeros", "within float16", "one dimension"],
)
def test_the_same_for_all_is_refused(features: Features) -> None:
    assert "gave the same vector to 8 pictures that have nothing in common" in refused(features)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_that_is_not_finite_is_refused(bad: float) -> None:
    def once(batch: NDArray[np.uint8]) -> NDArray[np.float64]:
        found = means(batch)
        found[-1, 3] = bad
        return found

    assert "features that are not finite to 1 of 8 pictures" in refused(once)


def test_a_batch_whose_images_affect_each_other_is_refused() -> None:
    assert "gave another vector to a picture that came alone" in refused(lambda b: means(b) - means(b).mean(axis=0) / 2)


def test_what_is_random_is_refused_though_one_picture_alone_is_tried() -> None:
    random = np.random.default_rng(0)
    assert "nothing is random" in refused(lambda b: means(b) + random.normal(0, 10, (len(b), 12)), alone=1)


def test_a_picture_without_features_among_others_is_no_reason() -> None:
    def relu(batch: NDArray[np.uint8]) -> NDArray[np.float64]:
        found = means(batch)
        found[(batch == batch[0]).all(axis=(1, 2, 3)) & (len(batch) > 1)] = 0
        return found

    model = Made(relu)
    try_out(model, 8, "It", alone=0)
