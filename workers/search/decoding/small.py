"""What a decoding process makes of an image to be shown: a small JPEG."""

from typing import Final

from workers.images.decode import decode_photo
from workers.images.encode import encode_jpeg

THUMBNAIL: Final = "thumbnail"
"""What is wanted of the process then."""
_QUALITY: Final = 80


def thumbnail_of(data: bytes, side: int, max_pixels: int, how: str) -> bytes:
    """The image as a JPEG, its longer side at most `side` pixels, upright; raises ImageError."""
    return encode_jpeg(decode_photo(data, side, max_pixels, how), _QUALITY)
