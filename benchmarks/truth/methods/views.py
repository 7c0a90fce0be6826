"""Cut a query image into the views of it that the model sees: the whole, the corners, the centre."""

from typing import Final

import numpy as np

from benchmarks.truth.queries.drawing import resized
from shared.models.preprocessing import REDUCED
from shared.settings import Settings
from workers.images.decode import decode, decode_photo
from workers.images.encode import Image

VIEWS: Final = 6
SIDE: Final = 0.55
"""How much of each side a corner or the centre has."""


def squares(data: bytes, size: int, views: int, how: str = REDUCED) -> Image:
    """The views of an image file as the model takes them: RGB uint8 [views, size, size, 3]; `views` is 1 or 6."""
    most = Settings().max_image_pixels
    whole = decode(data, size, most, how).pixels
    if views == 1:
        return whole[None]
    photo = decode_photo(data, 4 * size, most, how)
    height, width = photo.shape[:2]
    high, wide = max(1, round(height * SIDE)), max(1, round(width * SIDE))
    places = [(top, left) for top in (0, height - high) for left in (0, width - wide)]
    places.append(((height - high) // 2, (width - wide) // 2))
    parts = [resized(np.ascontiguousarray(photo[y : y + high, x : x + wide]), size, size) for y, x in places]
    return np.stack([whole, *parts])
