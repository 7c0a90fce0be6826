"""Pictures to try a model on, made like photographs."""

import numpy as np
from numpy.typing import NDArray


def made_pictures(count: int, size: int) -> NDArray[np.uint8]:
    """Pictures uint8 [count, size, size, 3] made like photographs: large differences far apart, small ones near by.

    They are always the same. On plain noise, which is like nothing it has learned, a deep model may amplify rounding
    beyond any bound.
    """
    random = np.random.default_rng(0)
    pictures = np.full((count, size, size, 3), 128.0)
    for block in (2**octave for octave in range(8)):
        few = random.normal(0, 32 * block / 128, (count, -(-size // block), -(-size // block), 3))
        pictures += few.repeat(block, axis=1).repeat(block, axis=2)[:, :size, :size]
    return pictures.clip(0, 255).astype(np.uint8)
