"""Check image files of every format: compare what one claims with the file before a library reads it."""

import re
import struct
from typing import Final

from shared.errors import ImageError
from workers.images.formats.floats import is_pfm, require_pfm
from workers.images.structure.boxes import CODESTREAM, JP2, require_avif, require_jpeg_2000
from workers.images.structure.claims import DEFLATE_RATIO, LZW_RATIO, cut_short, require_data, require_pixels
from workers.images.structure.heif import is_heif, require_heif
from workers.images.structure.jxl import is_jxl, require_jxl
from workers.images.structure.more import require_more
from workers.images.structure.raster import TIFFS, is_ppm, require_bmp, require_ppm, require_tiff

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_GIF: Final = (b"GIF87a", b"GIF89a")
# Chunks of an animation with a fixed length, or with at least a number in them. OpenCV reads behind shorter ones.
_FIXED: Final = {b"IHDR": 13, b"acTL": 8, b"fcTL": 26}
_LEAST: Final = {b"fdAT": 4}
_PNG_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_SLACK: Final = 1_024
_GIF_BLOCK: Final = re.compile(rb"[!,;]")
_MOST_GIF_BLOCKS: Final = 100_000  # Comments and the like: an encoder writes a handful before the first frame.
_HUFFMAN_FRAMES: Final = (0xC0, 0xC1, 0xC2)
_AVIF: Final = (b"ftypavif", b"ftypavis")


def require_structure(data: bytes, max_pixels: int) -> None:
    """Raise ImageError for a file whose parts end behind it, or whose claims would take memory before any is checked.

    The status is truncated for what is missing, oversized for more than `max_pixels`, and undecodable for a part of a
    length that it can't have. A file of no known format passes: the code that reads its header says so.
    """
    if data.startswith(_PNG):
        _require_png(data, max_pixels)
    elif data.startswith(b"\xff\xd8\xff"):
        _require_jpeg(data, max_pixels)
    elif data.startswith(_GIF):
        _require_gif(data, max_pixels)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        _require_webp(data, max_pixels)
    elif data.startswith(b"BM"):
        require_bmp(data, max_pixels)
    elif is_ppm(data):
        require_ppm(data, max_pixels)
    elif is_pfm(data):
        require_pfm(data, max_pixels)
    elif data.startswith(TIFFS):
        require_tiff(data, max_pixels)
    elif data.startswith((JP2, CODESTREAM)):
        require_jpeg_2000(data, max_pixels)
    elif is_jxl(data):
        require_jxl(data, max_pixels)
    elif is_heif(data):
        require_heif(data, max_pixels)
    elif data[4:12] in _AVIF:
        require_avif(data, max_pixels)
    else:
        require_more(data, max_pixels)


def _require_png(data: bytes, max_pixels: int) -> None:
    at, deflated = len(_PNG), 0
    kind = b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ImageError("The PNG is cut short: its end is missing.", "truncated")
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if at + 12 + length > len(data):
            raise ImageError(
                f"The PNG is cut short or damaged: a part ({kind!r}) claims {length:,} bytes, and "
                f"{len(data) - at - 12:,} are left.",
                "truncated",
            )
        if length != _FIXED.get(kind, length) or length < _LEAST.get(kind, 0):
            raise ImageError(f"The PNG is damaged: a part ({kind!r}) has {length:,} bytes, which it can't have.")
        deflated += length if kind == b"IDAT" else 0
        at += 12 + length
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    require_pixels(width, height, max_pixels)
    plain = height * (1 + -(-width * _PNG_SAMPLES.get(colour, 1) * bits // 8))
    if plain > deflated * DEFLATE_RATIO + _SLACK:
        raise ImageError(
            f"The PNG claims {width} x {height} pixels, more than its {deflated:,} bytes of data can hold: it is cut "
            "short or damaged.",
            "truncated",
        )


def _require_gif(data: bytes, max_pixels: int) -> None:
    """Read up to the end of the first frame: what comes after it is not decoded."""
    try:
        width, height, flags = struct.unpack_from("<HHB", data, 6)
        require_pixels(width, height, max_pixels)
        at = 13 + _table_bytes(flags)
        for _ in range(_MOST_GIF_BLOCKS):
            # Readers skip bytes that begin no block.
            found = _GIF_BLOCK.search(data, at)
            if found is None:
                raise cut_short(data, "it ends before its first frame")
            at = found.start()
            if found[0] != b"!":
                break
            at = _behind_blocks(data, at + 2)
        else:
            raise ImageError(f"The GIF has {_MOST_GIF_BLOCKS:,} blocks before a frame: it is made to waste time.")
        if data[at] == 0x2C:
            left, top, across, down, flags = struct.unpack_from("<HHHHB", data, at + 1)
            # Pillow makes the screen as large as its first frame needs.
            require_pixels(max(width, left + across), max(height, top + down), max_pixels)
            begins = at + 11 + _table_bytes(flags)
            coded = _behind_blocks(data, begins) - begins
            require_data(data, coded, across * down // LZW_RATIO, across, down)
    except (IndexError, struct.error):
        raise ImageError(
            f"The GIF is cut short after {len(data):,} bytes: the end of its first frame is missing.", "truncated"
        ) from None


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _behind_blocks(data: bytes, at: int) -> int:
    """The end of the blocks that begin at `at`; IndexError when the file ends before."""
    while length := data[at]:
        at += 1 + length
    return at + 1


def _require_webp(data: bytes, max_pixels: int) -> None:
    """Check all parts, and the pixels of each picture among them."""
    size = int.from_bytes(data[4:8], "little") + 8
    if size > len(data):
        raise cut_short(data, f"it says that it has {size:,}")
    _require_webp_parts(data, 12, size, max_pixels)


def _require_webp_parts(data: bytes, at: int, end: int, max_pixels: int) -> None:
    while at + 8 <= end:
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        start = at + 8
        if start + length > end:
            raise ImageError(
                f"The WebP is cut short or damaged: a part ({kind!r}) claims {length:,} bytes, and {end - start:,} "
                "are left.",
                "truncated",
            )
        if kind == b"VP8X" and length >= 10:
            require_pixels(_side(data, start + 4), _side(data, start + 7), max_pixels)
        elif kind == b"ANMF" and length >= 16:
            require_pixels(_side(data, start + 6), _side(data, start + 9), max_pixels)
            _require_webp_parts(data, start + 16, start + length, max_pixels)
        elif kind == b"VP8 " and length >= 10:
            width, height = struct.unpack_from("<HH", data, start + 6)
            require_pixels(width & 0x3FFF, height & 0x3FFF, max_pixels)
        elif kind == b"VP8L" and length >= 5:
            bits = int.from_bytes(data[start + 1 : start + 5], "little")
            require_pixels(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), max_pixels)
        at = start + length + (length & 1)


def _side(data: bytes, at: int) -> int:
    return 1 + int.from_bytes(data[at : at + 3], "little")


def _require_jpeg(data: bytes, max_pixels: int) -> None:
    """Require at least a bit in a scan for each block of 8 x 8 samples; a decoder makes grey of what is missing."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda" and at + 10 <= len(data):
        if data[at + 1] == 0xFF:
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] in _HUFFMAN_FRAMES and length >= 8:
            height, width, parts = struct.unpack(">HHB", data[at + 5 : at + 10])
            require_pixels(width, height, max_pixels)
            sampling = [value for value in data[at + 11 : at + 10 + 3 * parts : 3] if value & 15 and value >> 4]
            if not sampling:
                return  # The decoder says so.
            across, down = 8 * max(value >> 4 for value in sampling), 8 * max(value & 15 for value in sampling)
            blocks = -(-width // across) * -(-height // down) * parts
            require_data(data, len(data) - at, blocks // 8, width, height)
            return
        at += 2 + max(length, 2)
