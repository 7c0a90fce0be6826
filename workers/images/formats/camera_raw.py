"""Read camera RAW with rawpy, an optional library, which only this module imports; the camera's preview is the
picture.
"""

import io
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.errors import ImageError
from workers.images.header import is_cut_short, own_orientation, read_header
from workers.images.structure.claims import require_pixels
from workers.images.structure.raw import require_raw

# A preview shorter than this on its longer side is a thumbnail, and the samples are developed instead.
_LEAST_PREVIEW: Final = 512
# LibRaw's numbers for how the camera was held, and EXIF's for the same.
_TURNED: Final = {3: 3, 5: 8, 6: 6}
_JPEG, _EXIF = b"\xff\xd8\xff", b"\xff\xe1"
_JPEG_HEAD_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class RawPicture:
    """The picture of a RAW: the JPEG in it, or pixels, BGR uint8 [h, w, 3]; `width` and `height` are the sensor's.

    `orientation`, one of EXIF's, is still to be applied; to the JPEG, after its own.
    """

    width: int
    height: int
    jpeg: bytes | None
    pixels: NDArray[np.uint8] | None
    orientation: int

    @property
    def shown(self) -> NDArray[np.uint8]:
        """The pixels of a picture that is not a JPEG."""
        assert self.pixels is not None
        return self.pixels


@dataclass(frozen=True, slots=True)
class _Preview:
    """A picture that the camera made: a JPEG, or pixels. `is_turned` says that the JPEG has its own orientation."""

    width: int
    height: int
    jpeg: bytes | None
    pixels: NDArray[np.uint8] | None
    is_turned: bool = False


def raw_picture(data: bytes, max_pixels: int) -> RawPicture:
    """The picture of a RAW that passed `require_raw`: the camera's preview, or samples developed at half their size.

    Raises ImageError, status undecodable, if LibRaw can't read it or rawpy is not installed.
    """
    require_raw(data, max_pixels)
    rawpy = _library()
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            sizes = raw.sizes
            require_pixels(sizes.raw_width, sizes.raw_height, max_pixels)
            preview = _preview(rawpy, raw, data)
            if preview is not None and max(preview.width, preview.height) >= _LEAST_PREVIEW:
                lies = sizes.width > sizes.height
                # A preview that has its own orientation, or is upright where the sensor's picture is on its side (or
                # the reverse), needs no turning here.
                turned = preview.is_turned or (preview.width > preview.height) != lies
                orientation = 1 if turned else _TURNED.get(sizes.flip, 1)
                return RawPicture(sizes.width, sizes.height, preview.jpeg, preview.pixels, orientation)
            developed = raw.postprocess(half_size=True, use_camera_wb=True, output_bps=8)
            pixels = np.ascontiguousarray(developed[..., ::-1], np.uint8)
            return RawPicture(sizes.width, sizes.height, None, pixels, 1)
    except ImageError:
        raise
    except Exception as error:  # These are LibRaw's own classes, and NumPy's errors for its shapes.
        reason = error.args[0] if error.args else type(error).__name__
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ImageError(f"LibRaw can't decode the RAW file of a camera: {reason}.") from error


def _library() -> ModuleType:
    try:
        import rawpy
    except ImportError:
        raise ImageError(
            "The file is the RAW of a camera, for which rawpy is needed and not installed: pip install "
            "'lookalike[formats]', or convert it to JPEG."
        ) from None
    library: ModuleType = rawpy
    return library


def _preview(rawpy: Any, raw: Any, data: bytes) -> _Preview | None:
    try:
        found = raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        return None
    if found.format == rawpy.ThumbFormat.JPEG:
        jpeg = _as_it_lies(bytes(found.data), data)
        with suppress(ImageError):  # A damaged preview does not count: the samples are there.
            if jpeg.startswith(_JPEG) and not is_cut_short(jpeg):
                width, height = read_header(jpeg)[:2]
                return _Preview(width, height, jpeg, None, own_orientation(jpeg) != 1)
    elif found.format == rawpy.ThumbFormat.BITMAP:
        pixels = np.ascontiguousarray(np.asarray(found.data)[..., ::-1], np.uint8)
        return _Preview(pixels.shape[1], pixels.shape[0], None, pixels)
    return None


def _as_it_lies(jpeg: bytes, data: bytes) -> bytes:
    """A preview as it is in the file: LibRaw adds EXIF to one without it, which would turn a preview twice."""
    if jpeg[2:4] != _EXIF or jpeg[:_JPEG_HEAD_BYTES] in data:
        return jpeg
    return jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6], "big") :]
