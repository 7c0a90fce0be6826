"""Make the features that are stored of an image: its PDQ and its local features, of the pixels that the model sees."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shared.job.partition.features.record import ImageFeatures
from workers.verify.features import local_features
from workers.verify.pdq import pdq


def image_features(pixels: NDArray[np.uint8], width: int, height: int) -> ImageFeatures:
    """The features of an image: `pixels`, uint8 [h, w, 3], RGB, upright, may be smaller than it is.

    `width` and `height` are those of the whole image, upright, whose pixels the keypoints are given in.
    """
    made = local_features(pixels)
    scale = np.array([width / pixels.shape[1], height / pixels.shape[0]], np.float32)
    whole = replace(made, width=width, height=height, points=(made.points * scale).astype(np.float32))
    value, quality = pdq(pixels)
    return ImageFeatures(value.tobytes(), quality, whole.to_bytes())
