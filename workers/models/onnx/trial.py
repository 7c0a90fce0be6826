"""Try a model on pictures before it embeds any image: what comes out must be able to tell images apart."""

import numpy as np
from numpy.typing import NDArray

from shared.errors import ModelError
from workers.models.backbone import Backbone
from workers.models.pictures import made_pictures

PICTURES = 8
# How far the two pictures that are least alike must be apart, 1 - cosine. EfficientNet-Lite0 has them 0.18 apart, and
# 0.00007 where its input is divided by 255 twice.
_LEAST_APART = 3e-4
# The largest difference in a value of two vectors of length 1 that are of the same picture.
_MOST_APART = 1e-4


def try_out(backbone: Backbone, image_size: int, what: str, alone: int = PICTURES) -> None:
    """Compute the features of eight pictures, together and `alone` of them also one by one; `what` begins the errors.

    Raises ModelError if they are not finite, the same for all pictures, or others for a picture that comes alone.
    """
    images = made_pictures(PICTURES, image_size)
    size = backbone.batch_size
    together = np.concatenate([backbone.forward(images[at : at + size]) for at in range(0, PICTURES, size)])
    lengths = np.linalg.norm(together.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        bad = int((~np.isfinite(lengths)).sum())
        raise ModelError(
            f"{what} gave features that are not finite to {bad} of {PICTURES} pictures that it was tried on: check how "
            "its input is scaled, and its weights."
        )
    vectors = together / np.where(lengths > 0, lengths, 1)
    if 1 - (vectors @ vectors.T).min() < _LEAST_APART or not lengths.any():
        raise ModelError(
            f"{what} gave the same vector to {PICTURES} pictures that have nothing in common, so it sees nothing in "
            "them: check how its input is scaled (twice, or not at all?), its layout, and which output is taken."
        )
    for image, vector in zip(images[:alone], vectors, strict=False):
        _require_same(_unit(backbone.forward(image[None])), vector, what)


def _unit(features: NDArray[np.float32]) -> NDArray[np.float64]:
    values = features[0].astype(np.float64)
    vector: NDArray[np.float64] = values / (np.linalg.norm(values) or 1)
    return vector


def _require_same(alone: NDArray[np.float64], together: NDArray[np.float64], what: str) -> None:
    apart = float(np.abs(alone - together).max())
    if not apart <= _MOST_APART:  # Also if it is NaN.
        raise ModelError(
            f"{what} gave another vector to a picture that came alone than with others (values up to {apart:.1e} "
            "apart): export it for inference, where nothing is random and no image depends on another."
        )
