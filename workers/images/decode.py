"""Decode the bytes of an image file to a square of RGB pixels, or fail with the reason."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import ImageError
from shared.models.preprocessing import REDUCED, REDUCED_OPAQUE, STRICT, STRICT_OPAQUE
from workers.images.formats.camera_raw import RawPicture, raw_picture
from workers.images.formats.floats import float_pixels, float_samples
from workers.images.formats.icons import picture_of
from workers.images.formats.jpeg_xl import jpeg_xl_pixels
from workers.images.formats.pillow_decode import ADDED, SECOND_TRY, counts_otherwise, is_misread, pillow_pixels
from workers.images.formats.png_still import still
from workers.images.formats.transparency import may_be_transparent
from workers.images.formats.webp_tail import require_written
from workers.images.header import JPEGS, is_cut_short, read_header, require_honest
from workers.images.structure.check import require_structure
from workers.images.structure.raster import TIFFS
from workers.images.structure.raw import is_raw

cv2.setNumThreads(1)  # The threads below share the cores; OpenCV's own would only get in their way.

_REDUCED = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))
# The steps that turn an image of each EXIF orientation upright: (transpose, turn upside down, mirror).
_UPRIGHT = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
# Larger images are decoded one at a time: one may take 2.5 GB, which must fit into memory once, and not once for each
# thread. A reduced JPEG takes at most a fourth of the memory of another image of the same size.
LARGE = 33_554_432
_one_large: AbstractContextManager[object] = threading.Lock()
_MOST_SEEN = 2_048  # More pixels a side would only take memory.
Seen = Callable[[NDArray[np.uint8], int, int], None]
"""Called with an image as it was decoded, uint8 [h, w, 3], RGB, upright, maybe reduced; its full width and height."""
_REDUCED_MARGIN = 2  # The short side stays at least this many times the image size: cosine .9999 to a full decode.


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """`pixels` is uint8 [s, s, 3], RGB, contiguous; `width` and `height` are the header's, before any orientation."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


def decode(data: bytes, image_size: int, max_pixels: int, how: str = REDUCED, seen: Seen | None = None) -> DecodedImage:
    """Decode the bytes of an image file to uint8 [image_size, image_size, 3], RGB, stretched to a square.

    `how` is the model's `decode`: "reduced" decodes a JPEG no larger than it need be and averages pixels, "strict"
    decodes it whole and resizes linearly, as the article does. Both put transparent images on white; "reduced-opaque"
    and "strict-opaque" drop alpha instead, as older jobs do.

    `max_pixels` bounds width times height by the header, checked before anything is decoded. Sixteen bits, grey,
    palettes and CMYK come out as 8-bit RGB; an animation gives its first frame. `seen` gets the image in its own shape,
    of the same decoding. Raises ImageError
    with the status empty, not-an-image, oversized, truncated or undecodable, the last also for a file that is made to
    take long.
    """
    data = picture_of(data)
    if _is_read_as_raw(data, how):
        raw = _raw_picture(data, max_pixels)
        if raw.jpeg is None:
            square = _square(raw.shown, image_size, how)
            _tell(seen, raw.shown, raw.orientation, raw.shown.shape[1], raw.shown.shape[0])
        else:
            told = seen and (lambda pixels, *whole: _tell(seen, pixels[:, :, ::-1], raw.orientation, *whole))
            square = decode(raw.jpeg, image_size, max_pixels, how, told).pixels
        return DecodedImage(_upright(square, raw.orientation), raw.width, raw.height)
    width, height, kind, orientation = checked_header(data, max_pixels, how)
    flag = cv2.IMREAD_COLOR
    # OpenCV decodes any other format whole, and would drop pixels instead of averaging them.
    if kind in JPEGS and how in (REDUCED, REDUCED_OPAQUE):
        short = min(width, height)
        flag = next((f for by, f in _REDUCED if short // by >= _REDUCED_MARGIN * image_size), flag)
    with _alone(data, kind, width, height, flag):
        what = f"{kind} data of {width} x {height} pixels"
        pixels, orientation = _shown(data, kind, flag, orientation, how, what)
        square = _square(pixels, image_size, how)
        _tell(seen, pixels, orientation, width, height)
    return DecodedImage(_upright(square, orientation), width, height)


def _tell(seen: Seen | None, pixels: NDArray[np.uint8], orientation: int | None, width: int, height: int) -> None:
    """Call `seen`, if there is one, with BGR `pixels` made RGB and upright; `width` and `height` are the header's."""
    if seen is None:
        return
    upright = _upright(np.asarray(cv2.cvtColor(_shrunk(pixels, _MOST_SEEN), cv2.COLOR_BGR2RGB), np.uint8), orientation)
    tall, wide = upright.shape[:2]
    # Where it was turned, here or by OpenCV, its sides are exchanged, and the header's are not.
    seen(upright, *((height, width) if (wide - tall) * (width - height) < 0 else (width, height)))


def decode_photo(data: bytes, longest: int, max_pixels: int, how: str = REDUCED) -> NDArray[np.uint8]:
    """Decode the bytes of an image file to uint8 [h, w, 3], RGB, upright, in its own shape.

    An image that is longer than `longest` pixels on a side is shrunk to that. `how` matters only for transparency.
    Raises ImageError as `decode` does.
    """
    data = picture_of(data)
    if _is_read_as_raw(data, how):
        raw = _raw_picture(data, max_pixels)
        if raw.jpeg is not None:
            return _upright(decode_photo(raw.jpeg, longest, max_pixels, how), raw.orientation)
        shrunk = np.asarray(cv2.cvtColor(_shrunk(raw.shown, longest), cv2.COLOR_BGR2RGB), np.uint8)
        return _upright(shrunk, raw.orientation)
    width, height, kind, orientation = checked_header(data, max_pixels, how)
    flag = cv2.IMREAD_COLOR
    if kind in JPEGS:
        flag = next((f for by, f in _REDUCED if max(width, height) // by >= longest), flag)
    with _alone(data, kind, width, height, flag):
        what = f"{kind} data of {width} x {height} pixels"
        pixels, orientation = _shown(data, kind, flag, orientation, how, what)
        pixels = _shrunk(pixels, longest)
    return _upright(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8), orientation)


def _shrunk(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    scale = longest / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _is_read_as_raw(data: bytes, how: str) -> bool:
    """Whether a file is read as a camera's RAW; older versions read a RAW that begins as a TIFF as a TIFF."""
    return is_raw(data) and not (how in (REDUCED_OPAQUE, STRICT_OPAQUE) and data.startswith(TIFFS))


def _raw_picture(data: bytes, max_pixels: int) -> RawPicture:
    with _one_large if len(data) > LARGE else nullcontext():
        return raw_picture(data, max_pixels)


def checked_header(data: bytes, max_pixels: int, how: str = REDUCED) -> tuple[int, int, str, int | None]:
    """Width, height, kind and orientation of an image file; ImageError for a file that should not be decoded.

    `how` is as for `decode`. The orientation is one of EXIF's, 1 to 8, or None if OpenCV applies it.
    """
    if not data:
        raise ImageError("The file is empty.", "empty")
    data = picture_of(data)
    if _is_read_as_raw(data, how):
        raw = _raw_picture(data, max_pixels)
        return raw.width, raw.height, "RAW", None
    if is_cut_short(data):
        raise ImageError(f"The file is cut short after {len(data):,} bytes: its end is missing.", "truncated")
    require_structure(data, max_pixels)
    width, height, kind, orientation = read_header(data)
    if width * height > max_pixels:
        raise ImageError(
            f"The image has {width * height:,} pixels ({width} x {height}); at most {max_pixels:,} are decoded.",
            "oversized",
        )
    require_honest(data, kind, width, height)
    return width, height, kind, orientation


def decode_large_under(lock: AbstractContextManager[object]) -> None:
    """Decode each large image of this process under `lock`, which other processes may share."""
    global _one_large
    _one_large = lock


def _alone(data: bytes, kind: str, width: int, height: int, flag: int) -> AbstractContextManager[object]:
    weight = width * height if flag == cv2.IMREAD_COLOR else width * height // 4
    weight *= 4 if float_samples(data, kind) else 1
    return _one_large if weight > LARGE else nullcontext()


def _shown(
    data: bytes, kind: str, flag: int, orientation: int | None, how: str, what: str
) -> tuple[NDArray[np.uint8], int | None]:
    """BGR pixels to be shown, and the orientation that is still to be applied."""
    if kind == "WEBP":
        require_written(data)
    if kind == "PNG":
        data = still(data, older=how in (REDUCED_OPAQUE, STRICT_OPAQUE))
    if kind in ADDED:  # OpenCV reads none of these, and older versions read none of them at all.
        return pillow_pixels(data, kind, what)
    if kind == "JPEG XL":
        return jpeg_xl_pixels(data, what), None
    samples = float_samples(data, kind)
    # Older versions made black of a grey PFM, and refused the others.
    if samples and not (kind == "PFM" and samples == 1 and how in (REDUCED_OPAQUE, STRICT_OPAQUE)):
        return float_pixels(data, kind, what), None
    if how in (REDUCED_OPAQUE, STRICT_OPAQUE):
        if kind == "PPM" and counts_otherwise(data):  # Older versions refused these.
            return pillow_pixels(data, kind, what)
        theirs = orientation if kind == "AVIF" else None  # OpenCV has applied all others.
        return _pixels(data, flag, theirs, what), theirs
    if is_misread(data, kind, what) or may_be_transparent(data, kind):
        return pillow_pixels(data, kind, what)
    try:
        return _pixels(data, flag, orientation, what), orientation
    except ImageError:
        if kind not in SECOND_TRY:
            raise
    return pillow_pixels(data, kind, what)


def _pixels(data: bytes, flag: int, orientation: int | None, what: str) -> NDArray[np.uint8]:
    """BGR pixels, turned by OpenCV unless the orientation is applied here."""
    if orientation is not None:
        flag |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        raise ImageError(f"OpenCV can't decode the {what}: {error.err or error}.") from error
    if pixels is None:
        raise ImageError(f"OpenCV can't decode the {what}; it is damaged or unusual.")
    return np.asarray(pixels, np.uint8)


def square_of(pixels: NDArray[np.uint8], image_size: int, how: str = REDUCED) -> NDArray[np.uint8]:
    """Pixels, uint8 [h, w, 3], stretched to a square of `image_size`, as `decode` does in the way `how`."""
    grows = pixels.shape[0] < image_size or pixels.shape[1] < image_size
    interpolation = cv2.INTER_LINEAR if grows or how in (STRICT, STRICT_OPAQUE) else cv2.INTER_AREA
    return np.asarray(cv2.resize(pixels, (image_size, image_size), interpolation=interpolation), np.uint8)


def _square(pixels: NDArray[np.uint8], image_size: int, how: str) -> NDArray[np.uint8]:
    square = square_of(pixels, image_size, how)
    # This comes last because it copies: the square is a small part of what was decoded.
    return np.asarray(cv2.cvtColor(square, cv2.COLOR_BGR2RGB), np.uint8)


def _upright(pixels: NDArray[np.uint8], orientation: int | None) -> NDArray[np.uint8]:
    if orientation in _UPRIGHT:
        transpose, upside_down, mirror = _UPRIGHT[orientation]
        pixels = pixels.transpose(1, 0, 2) if transpose else pixels
        pixels = pixels[:: -1 if upside_down else 1, :: -1 if mirror else 1]
    return np.ascontiguousarray(pixels, dtype=np.uint8)
