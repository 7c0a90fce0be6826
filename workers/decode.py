"""Bytes of an image file to a square of RGB pixels; whatever can't be decoded becomes a failure with its reason."""

import hashlib
import io
import os
import stat
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from shared.errors import ImageError, SettingsError
from shared.paths import to_os_path

# A broken image is a row of the job, not a line on stderr.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
cv2.setNumThreads(1)  # The threads below share the cores; OpenCV's own would only get in their way.
# Pillow reads headers here, never pixels, so its guard against decompression bombs is ours to keep (`max_pixels`).
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")

# What both Pillow knows by its header and OpenCV decodes, less what this build of Pillow leaves out.
Image.init()
FORMATS = tuple(
    name for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "AVIF") if name in Image.OPEN
)
_JPEG = ("JPEG", "MPO")  # A JPEG with further pictures behind it is an MPO to Pillow.
_REDUCED = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))
_REDUCED_MARGIN = 2  # The short side stays at least this many times the image size: cosine .9999 to a full decode.


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """`pixels` is uint8 [s, s, 3], RGB, contiguous; `width` and `height` are the header's, before any orientation."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ReadImage:
    """One image of a job as it was read: `status` is "ok" and `pixels` are there, or it is that of an ImageError.

    `path` is the text of the job's list, `bytes` the size of the file, `sha256` 64 hex digits over its bytes. None
    stands for what the reading did not get as far as.
    """

    path: str
    bytes: int | None
    sha256: str | None
    width: int | None
    height: int | None
    pixels: NDArray[np.uint8] | None
    status: str
    error_message: str | None


def decode(data: bytes, image_size: int, max_pixels: int) -> DecodedImage:
    """Decode the bytes of an image file to uint8 [image_size, image_size, 3], RGB, stretched to a square.

    `max_pixels` bounds width times height by the header, checked before anything is decoded. Sixteen bits, grey,
    palettes and CMYK come out as 8-bit RGB; alpha is dropped; an animation gives its first frame. Raises ImageError
    with the status empty, not-an-image, oversized, truncated or undecodable.
    """
    if not data:
        raise ImageError("The file is empty.", "empty")
    if _is_cut_short(data):
        raise ImageError(f"The file is cut short after {len(data):,} bytes: its end is missing.", "truncated")
    width, height, kind = _header(data)
    if width * height > max_pixels:
        raise ImageError(
            f"The image has {width * height:,} pixels ({width} x {height}); at most {max_pixels:,} are decoded.",
            "oversized",
        )
    flag = cv2.IMREAD_COLOR
    if kind in _JPEG:  # Of any other format OpenCV decodes all, and drops pixels instead of averaging them.
        short = min(width, height)
        flag = next((f for by, f in _REDUCED if short // by >= _REDUCED_MARGIN * image_size), flag)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        raise ImageError(f"OpenCV can't decode the {kind} data: {error.err or error}.") from error
    if pixels is None:
        raise ImageError(f"OpenCV can't decode the {kind} data of {width} x {height} pixels; it is damaged or unusual.")
    grows = pixels.shape[0] < image_size or pixels.shape[1] < image_size
    interpolation = cv2.INTER_LINEAR if grows else cv2.INTER_AREA
    square = cv2.resize(pixels, (image_size, image_size), interpolation=interpolation)
    return DecodedImage(np.ascontiguousarray(cv2.cvtColor(square, cv2.COLOR_BGR2RGB), dtype=np.uint8), width, height)


def read_image(path: str, image_size: int, max_pixels: int, max_bytes: int) -> ReadImage:
    """Read and decode the image at `path`, the text of a job's list; a failure is returned, never raised.

    Beyond the statuses of `decode` there are vanished, unreadable, and oversized for a file of over `max_bytes`.
    Nothing but a regular file is opened, because a FIFO would block.
    """
    size = sha256 = None
    try:
        data = _bytes_of(path, max_bytes)
        size, sha256 = len(data), hashlib.sha256(data).hexdigest()
        image = decode(data, image_size, max_pixels)
    except ImageError as error:
        return ReadImage(path, size, sha256, None, None, None, error.status, str(error))
    return ReadImage(path, size, sha256, image.width, image.height, image.pixels, "ok", None)


def stream_images(
    paths: Iterable[str], *, image_size: int, max_pixels: int, max_bytes: int, threads: int, ahead: int
) -> Generator[ReadImage]:
    """Read and decode `paths` in `threads` threads and yield the results in the order of `paths`.

    At most `ahead` images are being decoded or wait for the caller, so memory is bounded and `paths` is pulled lazily.
    Closing the iterator drops what waits, and returns when the threads have ended. Raises SettingsError for `threads`
    or `ahead` below 1, and whatever `read_image` raises unexpectedly.
    """
    if threads < 1 or ahead < 1:
        raise SettingsError(f"Decoding was asked for {threads} threads and {ahead} images ahead; expected at least 1.")
    return _stream(iter(paths), image_size, max_pixels, max_bytes, threads, ahead)


def _stream(
    paths: Iterator[str], image_size: int, max_pixels: int, max_bytes: int, threads: int, ahead: int
) -> Generator[ReadImage]:
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[Future[ReadImage]] = deque()

    def pull() -> None:
        for path in paths:
            waiting.append(pool.submit(read_image, path, image_size, max_pixels, max_bytes))
            if len(waiting) >= ahead:
                return

    try:
        pull()
        while waiting:
            image = waiting.popleft().result()
            pull()
            yield image
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _header(data: bytes) -> tuple[int, int, str]:
    """Width, height and format by the header alone."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.width, image.height, image.format or "image"
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise ImageError(f"The file begins like none of the formats decoded here ({known}).", "not-an-image") from None
    except Exception as error:  # Pillow's readers let much escape on a damaged header: ValueError, struct.error, ...
        raise ImageError(f"The header of the image is damaged: {error}.") from error


def _is_cut_short(data: bytes) -> bool:
    """Whether the end of a JPEG, PNG or WebP is missing, as a download that stopped midway leaves it.

    OpenCV refuses most of these by itself, but not a JPEG whose tail the downloader has filled with zeros.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND\xaeB`\x82" not in data
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if not data.startswith(b"\xff\xd8\xff"):
        return False
    at = 2
    # Skip the segments up to the scan: a thumbnail inside one of them has an end marker of its own.
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        fill = data[at + 1 : at + 2] == b"\xff"
        at += 1 if fill else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data.find(b"\xff\xd9", at) < 0


def _bytes_of(path: str, max_bytes: int) -> bytes:
    try:
        os_path = to_os_path(path)
        found = os.stat(os_path)
        if not stat.S_ISREG(found.st_mode):
            raise ImageError("It is no regular file.", "unreadable")
        if found.st_size > max_bytes:
            raise ImageError(f"The file has {found.st_size:,} bytes; at most {max_bytes:,} are read.", "oversized")
        with open(os_path, "rb", buffering=0) as file:
            return file.readall()
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("The file was listed, but is no longer there.", "vanished") from None
    except OSError as error:
        raise ImageError(f"The file can't be read: {error.strerror}.", "unreadable") from error
    except ValueError as error:  # A NUL in the path, or text that no path can be made of.
        raise ImageError(f"The path can't be opened: {error}.", "unreadable") from error
