"""Read the first bytes of each member of a tar or a zip, without the rest."""

import struct
import tarfile
import zipfile
import zlib
from typing import Final

from shared.images.members import Member, ReadAt

_LOCAL_HEADER: Final = struct.Struct("<26s2H")  # A file's header in a zip: unused fields, and two lengths.
_READ_BYTES: Final = 4_096


def tar_head(read_at: ReadAt, member: Member, length: int) -> bytes:
    """The first `length` bytes of a member of a tar, or all it has."""
    return read_at(member.offset + tarfile.BLOCKSIZE, min(length, member.size))


def zip_head(read_at: ReadAt, member: Member, length: int) -> bytes:
    """The first `length` bytes of a member of a zip, or all it has; none if it is damaged or not deflated."""
    header = read_at(member.offset, _LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size:
        return b""
    _, name, extra = _LOCAL_HEADER.unpack(header)
    stored = read_at(member.offset + _LOCAL_HEADER.size + name + extra, min(member.stored, _READ_BYTES))
    if member.method == zipfile.ZIP_STORED:
        return stored[:length]
    if member.method != zipfile.ZIP_DEFLATED:
        return b""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, length)
    except zlib.error:
        return b""
