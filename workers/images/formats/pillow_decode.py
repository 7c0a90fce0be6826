"""Decode with Pillow what OpenCV can't: transparency, put on white, and files that OpenCV refuses or misreads."""

import io
import re
import struct

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from shared.errors import ImageError
from workers.images.formats.transparency import on_white, png_key
from workers.images.structure.more import plain_psd

ImageFile.LOAD_TRUNCATED_IMAGES = False  # Half an image does not count.
_EXIF_ORIENTATION = 0x0112
_WHOLE_SAMPLE = 8  # Pillow compares only 8-bit samples correctly with the transparent colour.
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_PPM_HEADER = re.compile(rb"P[2356](?:(?:\s|#[^\n]*\n)+(\d{1,9})){3}\s")
_PILLOW_ALONE = ("GIF", "AVIF")
# If OpenCV refuses a file of these kinds, Pillow tries. JPEG is not among them: Pillow reads it even if half is
# missing.
SECOND_TRY = ("PNG", "TIFF", "JPEG2000", "BMP", "PPM")
# Kinds that only Pillow reads, on white in every job.
ADDED = ("HEIF", "PSD", "PCX", "QOI", "TGA", "DDS", "ICO", "ICNS")
_SIGNED, _COMPLEX = 2, (5, 6)
_OLD_JPEG, _LAB = 6, 8  # A compression and a photometric interpretation of TIFF.


def is_misread(data: bytes, kind: str, what: str) -> bool:
    """Whether a file is of a kind that OpenCV decodes wrongly, or not at all, and Pillow correctly.

    `what` names it in the ImageError for numbers without a defined black and white, which both would show wrongly.
    """
    if kind in _PILLOW_ALONE:
        return True
    if kind == "BMP":
        # Pillow decodes runs, masks and palettes; OpenCV misreads what it does not know.
        return data[14:18] == b"\x0c\0\0\0" or data[28:30] != b"\x18\0" or data[30:34] != bytes(4)
    if kind == "PPM":
        return counts_otherwise(data)
    return kind == "TIFF" and _is_unusual_tiff(data, what)


def counts_otherwise(data: bytes) -> bool:
    """Whether white is another number in a PGM or PPM than the two that OpenCV knows, 255 and 65,535."""
    header = _PPM_HEADER.match(data)
    return header is not None and int(header[1]) not in (255, 65_535)


def _is_unusual_tiff(data: bytes, what: str) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            tags = getattr(image, "tag_v2", {})
            meaning = max(tags.get(339, (1,)))
            compression, photometric = tags.get(259), tags.get(262)
    except Exception:  # The decoder says what is wrong with it.
        return False
    if meaning in (_SIGNED, *_COMPLEX):
        numbers = "signed numbers" if meaning == _SIGNED else "complex numbers"
        raise ImageError(
            f"The {what} holds {numbers}, which is unusual: they have no defined black and white. Convert it to 8 or "
            "16 bits."
        )
    return compression == _OLD_JPEG or photometric == _LAB


def without_texts(data: bytes) -> bytes:
    """A PNG without its texts and colour profile, which change no pixel and may be long."""
    at, parts = 8, [data[:8]]
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in _PNG_TEXTS:
            parts.append(data[at:end])
        at = end
    return b"".join([*parts, data[at:]])


def pillow_pixels(data: bytes, kind: str, what: str) -> tuple[NDArray[np.uint8], int]:
    """The first picture of an image file on white, BGR uint8 [h, w, 3], and the EXIF orientation still to be applied.

    `what` names the file in an ImageError, which has the status truncated or undecodable.
    """
    try:
        if kind == "PNG" and (key := png_key(data)) is not None and _is_keyed_finely(data):
            return _keyed(data, key), _orientation_of(data)
        with Image.open(io.BytesIO(_for_pillow(data, kind)), formats=(kind,)) as image:
            _require_right(image, data)
            bare = _frame(image)
            image.load()
            # Pillow has already turned the other kinds when it loaded them.
            orientation = exif_orientation(image.info.get("exif")) if kind in ("PNG", "WEBP", "AVIF") else 1
            return _converted(_without_false_alpha(image, data), bare), orientation
    except ImageError as error:
        raise ImageError(f"The {what} can't be decoded: {error}", error.status) from error
    except Exception as error:  # Pillow's readers let much escape on damaged data: SyntaxError, struct.error, ...
        cut = "truncated" in str(error) or "not enough image data" in str(error) or isinstance(error, EOFError)
        cut = cut and kind in ("GIF", *ADDED)
        reason = str(error) or type(error).__name__
        raise ImageError(f"Pillow can't decode the {what}: {reason}.", "truncated" if cut else "undecodable") from error


def exif_orientation(exif: object) -> int:
    """The orientation, 1 to 8, in the bytes of an EXIF block, with or without the name before it; 1 without any."""
    if not isinstance(exif, bytes):
        return 1
    table = Image.Exif()
    try:
        table.load(exif)
        value = table.get(_EXIF_ORIENTATION, 1)
    except Exception:  # A damaged block is ignored: the pixels are whole without it.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _for_pillow(data: bytes, kind: str) -> bytes:
    """The bytes that Pillow gets.

    An animated WebP says that it has alpha: only then does Pillow tell the canvas beside its first frame. A PNG loses
    its texts, whose length Pillow may refuse, and a PSD everything except its colours.
    """
    if kind == "PNG":
        return without_texts(data)
    if kind == "PSD":
        return plain_psd(data)
    if kind == "WEBP" and data[12:16] == b"VP8X" and data[20] & 0x02:
        return data[:20] + bytes([data[20] | 0x10]) + data[21:]
    return data


def _require_right(image: Image.Image, data: bytes) -> None:
    """Raise ImageError for what Pillow would read wrongly."""
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        bits = max(tags.get(258, (1,)))
        if bits > 8 and (tags.get(284) == 2 or tags.get(262) == 0):
            raise ImageError(f"{bits} bits a sample in planes, or with white as zero, are unusual and not decoded.")
    if image.format == "JPEG2000" and _jp2_bits(data) > 8:
        raise ImageError("over 8 bits a sample are unusual for it and not decoded.")
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise ImageError("32 bits a sample are unusual, have no defined white, and are not decoded.")


def _jp2_bits(data: bytes) -> int:
    """The bits of the first sample of a JPEG 2000 code stream."""
    start = data.find(b"\xff\x4f\xff\x51")
    return (data[start + 42] & 0x7F) + 1 if 0 <= start < len(data) - 42 else 0


def _without_false_alpha(image: Image.Image, data: bytes) -> Image.Image:
    """Drop a fourth sample that is not transparency.

    A TGA says by four bits of its header how many of a pixel's bits are alpha.
    """
    if image.format == "TGA" and not data[17] & 15 and image.mode in ("RGBA", "LA", "P"):
        return image.convert("RGBA").convert("RGB")
    return image


def _frame(image: Image.Image) -> tuple[int, int, int, int] | None:
    """The part of a GIF's screen that its first frame covers."""
    tiles = getattr(image, "tile", None)
    return tiles[0][1] if image.format == "GIF" and tiles else None


def _converted(image: Image.Image, frame: tuple[int, int, int, int] | None) -> NDArray[np.uint8]:
    whole = frame is None or frame == (0, 0, *image.size)
    if image.mode.startswith("I"):
        bits = getattr(image, "tag_v2", {}).get(258, (16,))[0]
        grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(grey[..., None], (*grey.shape, 3)))
    if image.mode == "La":
        image = image.convert("LA")
    if not whole or image.mode in ("RGBA", "RGBa", "LA", "PA") or image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA"), np.uint8)
        if frame is not None and not whole:
            left, top, right, bottom = frame
            around = pixels.copy()
            around[..., 3] = 0
            around[top:bottom, left:right] = pixels[top:bottom, left:right]
            pixels = around
        return on_white(pixels)
    return np.ascontiguousarray(np.asarray(image.convert("RGB"), np.uint8)[..., ::-1])


def _is_keyed_finely(data: bytes) -> bool:
    return data[25] in (0, 2) and data[24] != _WHOLE_SAMPLE


def _keyed(data: bytes, key: bytes) -> NDArray[np.uint8]:
    """A PNG of 1, 2, 4 or 16 bits a sample, one colour of which is transparent."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageError("it is damaged or unusual.")
    colour = np.array(struct.unpack(f">{len(key) // 2}H", key), np.uint16)
    if data[24] < 8:
        colour = colour * 255 // (2 ** data[24] - 1)
    samples = (pixels[..., None] if pixels.ndim == 2 else pixels[..., 2::-1]).astype(np.uint16)
    transparent = (samples == colour).all(axis=2)
    shown = (samples >> 8 if pixels.dtype == np.uint16 else samples).astype(np.uint8)
    shown[transparent] = 255
    return np.ascontiguousarray(np.broadcast_to(shown, (*shown.shape[:2], 3))[..., ::-1])


def _orientation_of(data: bytes) -> int:
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        return exif_orientation(image.info.get("exif"))
