"""Members: where an image lies in a tar or a zip, and how its bytes are taken out at once, without looking for them."""

import bz2
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shared.errors import ImageError

ReadAt = Callable[[int, int], bytes]
"""Reads from an archive: a position and how many bytes; fewer come back where it ends."""

_TAR_BLOCK: Final = tarfile.BLOCKSIZE
# Where a header of a tar says that it is one, and the size in octal digits.
_MAGIC: Final = slice(257, 262)
_SIZE: Final = slice(124, 135)
# The header of a file inside a zip: signature, version, flags, method, time, date, CRC, two sizes, two lengths.
_LOCAL_HEADER: Final = struct.Struct("<4s5H3I2H")
_SIGNATURE: Final = b"PK\x03\x04"
_EXTRA_BYTES: Final = 64  # What mostly lies between a file's header and its bytes besides its name.
_CHANGED = "changed since it was listed: make a new job from it, or put back the one that was listed"


@dataclass(frozen=True, slots=True)
class Member:
    """Where an image lies in its archive.

    `offset` is the position of its header in a tar or zip, and the number of its row in a Parquet file. `stored` is how
    many bytes it takes there and `size` how many it has, 0 in a Parquet file, where that is not known. `method` and
    `crc32` are there in a zip alone.
    """

    offset: int
    stored: int = 0
    size: int = 0
    method: int | None = None
    crc32: int | None = None


def read_tar_member(read_at: ReadAt, member: Member) -> bytes:
    """The bytes of a member of a tar. Raises ImageError when the tar is another one now, or ends within it."""
    data = read_at(member.offset, _TAR_BLOCK + member.size)
    # A PAX header before it may hold the size of what is larger than 8 GB, which no image is.
    size = _size_in(data[:_TAR_BLOCK])
    if size != member.size:
        raise ImageError(f"The file there has {size:,} bytes now, not {member.size:,}: the tar {_CHANGED}.", "vanished")
    missing = _TAR_BLOCK + member.size - len(data)
    if missing:
        raise ImageError(f"The tar is cut short: {missing:,} bytes are missing.", "truncated")
    return data[_TAR_BLOCK:]


def _size_in(header: bytes) -> int:
    """The size that the header of a tar's file has for it."""
    if header[_MAGIC] == b"ustar" and header[_SIZE].isdigit():
        return int(header[_SIZE], 8)  # In nearly every tar, and many times as fast.
    try:
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").size
    except tarfile.HeaderError:
        raise ImageError(f"There is no header where it was in the tar, which {_CHANGED}.", "vanished") from None


def read_zip_member(read_at: ReadAt, member: Member, name_bytes: int) -> bytes:
    """The bytes of a member of a zip, whose name takes `name_bytes` there.

    Raises ImageError when the zip is another one now, ends within it, or holds bytes that don't fit their checksum.
    """
    ahead = _LOCAL_HEADER.size + name_bytes + _EXTRA_BYTES
    data = read_at(member.offset, ahead + member.stored)
    if data[:4] != _SIGNATURE or len(data) < _LOCAL_HEADER.size:
        raise ImageError(f"There is no file where it was in the zip, which {_CHANGED}.", "vanished")
    *_, name, extra = _LOCAL_HEADER.unpack_from(data)
    begin = _LOCAL_HEADER.size + name + extra
    if begin > ahead:
        data += read_at(member.offset + len(data), begin - ahead)
    stored = data[begin : begin + member.stored]
    if len(stored) < member.stored:
        raise ImageError(f"The zip is cut short: {member.stored - len(stored):,} bytes are missing.", "truncated")
    found = _inflated(stored, member)
    if len(found) != member.size or zlib.crc32(found) != member.crc32:
        raise ImageError(
            f"Its {len(found):,} bytes don't fit the size ({member.size:,}) and the checksum that the zip has for it.",
            "damaged",
        )
    return found


def _inflated(stored: bytes, member: Member) -> bytes:
    if member.method == zipfile.ZIP_STORED:
        return stored
    try:
        # A byte more than it should have shows what has more, and no more of it is made.
        if member.method == zipfile.ZIP_DEFLATED:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, member.size + 1)
        if member.method == zipfile.ZIP_BZIP2:
            return bz2.BZ2Decompressor().decompress(stored, member.size + 1)
    except (zlib.error, OSError, EOFError) as error:
        raise ImageError(f"Its bytes in the zip can't be unpacked ({error}).", "damaged") from None
    raise ImageError(
        f"It is packed by method {member.method}, which is not read here: make the zip anew, stored or deflated.",
        "unreadable",
    )
