"""Find WebP files whose last pixels were never written: a stopped download may leave zeros, which decode."""

import struct

import cv2
import numpy as np

from shared.errors import ImageError

# An encoder writes at most a few zeros at the end that no pixel needs; libwebp notices when eight bytes are missing.
_UNNEEDED = 32
_PICTURES = (b"VP8 ", b"VP8L")


def require_written(data: bytes) -> None:
    """Raise ImageError, status truncated, for a WebP that ends with more zeros than its pixels need.

    Zeros alone say nothing, as a picture with a black half may end with as many. But then the decoder needs all of
    them, while pixels that were never written also decode without the last 32 bytes. Only files whose pixels end with
    64 zeros are decoded for this.
    """
    kind, coded = _first_picture(data)
    if len(coded) <= 2 * _UNNEEDED or coded.count(0, len(coded) - 2 * _UNNEEDED) < 2 * _UNNEEDED:
        return
    coded = coded[:-_UNNEEDED]
    coded += bytes(len(coded) & 1)
    shorter = b"RIFF" + struct.pack("<I", 12 + len(coded)) + b"WEBP" + kind + struct.pack("<I", len(coded)) + coded
    try:
        whole = cv2.imdecode(np.frombuffer(shorter, np.uint8), cv2.IMREAD_GRAYSCALE) is not None
    except cv2.error:
        whole = False
    if whole:
        zeros = len(coded) + _UNNEEDED - len(coded.rstrip(b"\0"))
        raise ImageError(
            f"The WebP's pixels end with {zeros:,} zeros that none of them needs: its end was never written.",
            "truncated",
        )


def _first_picture(data: bytes) -> tuple[bytes, bytes]:
    """The kind and the coded pixels of the first picture; both empty if there is none."""
    at = 12
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind in _PICTURES:
            return kind, data[at + 8 : at + 8 + length]
        at += 24 if kind == b"ANMF" else 8 + length + (length & 1)
    return b"", b""
