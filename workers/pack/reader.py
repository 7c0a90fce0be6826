"""Read one image for a pack, as it is or as a smaller JPEG, and try again if a slow mount fails."""

import errno
import hashlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from shared.errors import ImageError, SourceError
from shared.images.location import read_bytes
from shared.images.paths import to_os_path
from shared.pack.directory import PackSpec
from shared.pack.listing import PackItem
from workers.images.decode import checked_header
from workers.images.formats.icons import icon_suffix
from workers.images.header import read_header
from workers.images.in_hand import InHand
from workers.images.reach import out_of_reach
from workers.pack.shrink import shrunk, shrunk_alone

PAUSES: Final = (0.5, 2.0, 8.0)
"""Seconds before an image is read again, if the failure says more about the mount than about the image."""

_OF_THE_MOUNT = frozenset(
    [errno.EIO, errno.EAGAIN, errno.ETIMEDOUT, errno.ESTALE, errno.ENOTCONN, errno.ECONNRESET, errno.ECONNABORTED]
)
_SUFFIXES = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "JPEG2000": ".jp2",
    "PPM": ".ppm",
    "AVIF": ".avif",
    "HEIF": ".heic",
    "PSD": ".psd",
    "QOI": ".qoi",
    "DDS": ".dds",
    "PCX": ".pcx",
    "TGA": ".tga",
    "PFM": ".pfm",
    "JPEG XL": ".jxl",
}


@dataclass(frozen=True, slots=True)
class PackImage:
    """An image to be put into a tar: `data` are the bytes of the member, None where it failed, with `status` the word
    and `error_message` the sentence of its row. `sha256` is that of `data`, 64 hex digits."""

    id: int
    image_path: str
    member: str
    data: bytes | None
    sha256: str | None
    resized: bool
    status: str = "ok"
    error_message: str | None = None


class PackReader:
    """Reads images as the spec of a pack says; many threads call it at once.

    `pause` waits for so many seconds before something is tried again. `in_hand` is an open file, of 8 bytes for each
    core, that tells the process that started this one which images were being decoded when it ended: their ids from 1,
    or 0. The images whose ids are `suspects`, as an earlier process ended over them, are decoded in processes of their
    own.
    """

    def __init__(
        self,
        spec: PackSpec,
        pause: Callable[[float], object] = time.sleep,
        in_hand: int | None = None,
        suspects: Collection[int] = (),
    ) -> None:
        self._spec = spec
        self._pause = pause
        # More threads wait for the mount than there are cores.
        self._in_hand = InHand(in_hand, suspects)

    def read(self, place: int, listed: PackItem) -> PackImage:
        """One image; its own failure is returned. SourceError if its folder is out of reach."""
        try:
            data = self._bytes(listed)
            small = self._shrunk(listed.id, data)
        except ImageError as error:
            name = listed.stem + listed.suffix
            return PackImage(listed.id, listed.image_path, name, None, None, False, error.status, str(error))
        suffix = ".jpg" if small is not None else listed.suffix or _suffix_of(data)
        data = data if small is None else small
        digest = hashlib.sha256(data).hexdigest()
        return PackImage(listed.id, listed.image_path, listed.stem + suffix, data, digest, small is not None)

    def _bytes(self, listed: PackItem) -> bytes:
        for pause in (*PAUSES, None):
            try:
                return read_bytes(listed.image_path, self._spec.max_image_bytes, listed.member)
            except ImageError as error:
                if error.status not in ("vanished", "unreadable"):
                    raise
                self._require_root()
                cause = error.__cause__
                if pause is None or not (isinstance(cause, OSError) and cause.errno in _OF_THE_MOUNT):
                    # It tries once more, because the root was looked at after the image: it may have been away for a
                    # moment.
                    return read_bytes(listed.image_path, self._spec.max_image_bytes, listed.member)
                self._pause(pause)
        raise AssertionError("the last of the tries returns or raises")

    def _require_root(self) -> None:
        """Raise SourceError when the folder of the images is out of reach: they are not lost because a mount is."""
        reason = None if self._spec.root is None else out_of_reach(to_os_path(self._spec.root))
        if reason is not None:
            raise SourceError(
                f"The images' folder {self._spec.root} is out of reach ({reason}): mount it again, and the same "
                "command goes on after the last whole tar. If its images are gone for good, pack without them."
            )

    def _shrunk(self, image: int, data: bytes) -> bytes | None:
        """The image as a smaller JPEG, upright; None if its bytes are to stay. ImageError when it is no image."""
        longest, quality = self._spec.longest, self._spec.quality
        if longest is None or quality is None:
            return None
        width, height, *_ = checked_header(data, self._spec.max_image_pixels)
        if max(width, height) <= longest:
            return None
        wanted = (data, longest, quality, self._spec.max_image_pixels)
        with self._in_hand.holding(image) as suspect:
            return shrunk_alone(*wanted) if suspect else shrunk(*wanted)


def _suffix_of(data: bytes) -> str:
    """The suffix for the bytes of an image whose name has none; "" if it is no image, as no name makes it one."""
    if icon := icon_suffix(data):
        return icon
    try:
        return _SUFFIXES[read_header(data)[2]]
    except (ImageError, KeyError):
        return ""
