"""Tell from the first bytes of a file whether it is an image that can be decoded (pure)."""

import re
from typing import Final

HEAD_BYTES: Final = 32
"""How many of a file's first bytes are read."""

_JP2: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
_J2K: Final = b"\xff\x4f\xff\x51\0"
_BEGINNINGS: Final = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", _JP2, _J2K, b"8BPS\0\1", b"qoif", b"DDS |\0\0\0",
    b"\0\0\0\x0cJXL \r\n\x87\n", b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb",
    b"II\x1a\0\0\0HEAPCCDR",
)  # fmt: skip
_JXL: Final = b"\xff\x0a"
_TIFF: Final = re.compile(rb"II\*\0|MM\0\*")  # This is the RAW of many cameras too.
_CANON: Final = re.compile(rb".{4}ftypcrx ", re.DOTALL)
_NETPBM: Final = re.compile(rb"P(?:[1-6][ \t\r\n]+[0-9#]|[Ff][ \t\r\n]+[0-9])")
# The size of the file, two fields that are 0, the place where the pixels begin, and the size of a known header.
_BMP: Final = re.compile(rb"BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)
_AVIF: Final = re.compile(rb".{4}ftyp(?:avif|avis|mif1.*avif|miaf.*avif|msf1.*avis)", re.DOTALL)
_HEIF: Final = re.compile(rb".{4}ftyp(?:hei[cxms]|hev[cx]|(?:mif1|msf1|miaf).*(?:hei[cxms]|hev[cx]))", re.DOTALL)


def is_image(head: bytes) -> bool:
    """Whether a file that begins with `head` (HEAD_BYTES, or all it has) is an image of a kind that is decoded."""
    if head.startswith(_BEGINNINGS):
        return True
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return True
    if head.startswith(_JXL):
        return True
    return any(kind.match(head) for kind in (_TIFF, _NETPBM, _BMP, _AVIF, _HEIF, _CANON))
