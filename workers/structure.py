"""The structure of image files: what a GIF, PNG or WebP claims is compared with the file before a library reads it."""

import struct
from typing import Final

from shared.errors import ImageError

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_GIF: Final = (b"GIF87a", b"GIF89a")
# An animation's chunks whose length is fixed, or must hold a number at least. OpenCV reads behind shorter ones.
_FIXED: Final = {b"IHDR": 13, b"acTL": 8, b"fcTL": 26}
_LEAST: Final = {b"fdAT": 4}
_DEFLATE: Final = 1_032  # No deflated byte stands for more.
_PNG_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_SLACK: Final = 1_024


def require_structure(data: bytes, max_pixels: int) -> None:
    """Raise ImageError for a file whose parts end behind it, or whose claims would take memory before any is checked.

    The status is truncated for what is missing, oversized for more than `max_pixels`, and undecodable for a part of a
    length that it can't have. Formats without such parts pass.
    """
    if data.startswith(_PNG):
        _require_png(data, max_pixels)
    elif data.startswith(_GIF):
        _require_gif(data, max_pixels)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        _require_webp(data)


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
    _require_pixels(width, height, max_pixels)
    plain = height * (1 + -(-width * _PNG_SAMPLES.get(colour, 1) * bits // 8))
    if plain > deflated * _DEFLATE + _SLACK:
        raise ImageError(
            f"The PNG claims {width} x {height} pixels, more than its {deflated:,} bytes of data can hold: it is cut "
            "short or damaged.",
            "truncated",
        )


def _require_gif(data: bytes, max_pixels: int) -> None:
    """Read up to the end of the first frame: what comes behind is not decoded."""
    try:
        width, height, flags = struct.unpack_from("<HHB", data, 6)
        _require_pixels(width, height, max_pixels)
        at = 13 + _table_bytes(flags)
        while (kind := data[at]) == 0x21:
            at = _behind_blocks(data, at + 2)
        if kind == 0x2C:
            left, top, across, down, flags = struct.unpack_from("<HHHHB", data, at + 1)
            # Pillow makes the screen as large as its first frame needs.
            _require_pixels(max(width, left + across), max(height, top + down), max_pixels)
            _behind_blocks(data, at + 11 + _table_bytes(flags))
    except (IndexError, struct.error):
        raise ImageError(
            f"The GIF is cut short after {len(data):,} bytes: the end of its first frame is missing.", "truncated"
        ) from None


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _behind_blocks(data: bytes, at: int) -> int:
    """Where the blocks that begin at `at` end; IndexError when the file ends before."""
    while length := data[at]:
        at += 1 + length
    return at + 1


def _require_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(
            f"The image has {width * height:,} pixels ({width} x {height}); at most {max_pixels:,} are decoded.",
            "oversized",
        )


def _require_webp(data: bytes) -> None:
    """A WebP that is shorter than it says is found elsewhere; this looks at its parts."""
    at, end = 12, int.from_bytes(data[4:8], "little") + 8
    while at + 8 <= end:
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > end:
            raise ImageError(
                f"The WebP is cut short or damaged: a part ({kind!r}) claims {length:,} bytes, and {end - at - 8:,} "
                "are left.",
                "truncated",
            )
        at += 8 + length + (length & 1)
