"""Cut a query image into the views of it that the model sees, as a query worker does."""

from typing import Final

import numpy as np

from shared.models.preprocessing import REDUCED
from shared.settings import Settings
from workers.images.encode import Image
from workers.search.decoding.pictures import views_of

VIEWS: Final = 6


def squares(data: bytes, size: int, views: int, how: str = REDUCED) -> Image:
    """The views of an image file as the model takes them: RGB uint8 [views, size, size, 3], the whole first.

    Of a picture that has fewer views the whole stands in the place of the others.
    """
    found = views_of(data, views, size, Settings().max_image_pixels, how)
    return np.concatenate([found, np.repeat(found[:1], views - len(found), axis=0)])
