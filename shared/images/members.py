"""Read the bytes of an image from its place in a tar or a zip, at once."""

import bz2
import io
import os
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
# The places in a tar's header of its magic word, and of the size in octal digits.
_MAGIC: Final = slice(257, 262)
_SIZE: Final = slice(124, 135)
# The header of a file inside a zip: signature, version, flags, method, time, date, CRC, two sizes, two lengths.
_LOCAL_HEADER: Final = struct.Struct("<4s5H3I2H")
_SIGNATURE: Final = b"PK\x03\x04"
_UNICODE_NAME: Final = 0x7075  # Info-ZIP's extra field with the name in UTF-8.
_NAME: Final = slice(0, 100)
_PREFIX: Final = slice(345, 500)
_EXTRA_BYTES: Final = 64  # The usual number of bytes between a file's header and its content, besides its name.
_CHANGED = "changed since it was listed: make a new job from it, or put back the one that was listed"


@dataclass(frozen=True, slots=True)
class Member:
    """Where an image is in its archive.

    `offset` is the position of its header in a tar or zip, and the number of its row in a Parquet file. `stored` is how
    many bytes it takes there and `size` how many it has; both are 0 in a Parquet file, where that is not known. Only a
    zip has `method` and `crc32`. Only a tar has `ahead`: how many bytes of other headers, for example with a long name,
    are just before its own; None if its headers don't tell its name.
    """

    offset: int
    stored: int = 0
    size: int = 0
    method: int | None = None
    crc32: int | None = None
    ahead: int | None = None


class OtherName(ImageError):
    """Another file is in the place of an image: its archive was rebuilt, in another order for example."""


def read_tar_member(read_at: ReadAt, member: Member, name: str) -> bytes:
    """The bytes of the file `name` of a tar. Raises ImageError when the tar is another one now, or ends within it.

    Its header's own name is compared with `name`, unless `member.ahead` is None; OtherName when they differ.
    """
    ahead = member.ahead or 0
    data = read_at(member.offset - ahead, ahead + _TAR_BLOCK + member.size)
    header = data[ahead : ahead + _TAR_BLOCK]
    if len(header) < _TAR_BLOCK:
        raise ImageError("The tar is cut short: it ends before this image.", "truncated")
    # A PAX header before it may hold the size of what is larger than 8 GB, which no image is.
    size = _size_in(header)
    if member.ahead is not None:
        found = _tar_name(data[: ahead + _TAR_BLOCK], ahead)
        if found != name:
            raise OtherName(f"The file there is {found[:200]} now: the tar {_CHANGED}.", "vanished")
    if size != member.size:
        raise ImageError(f"The file there has {size:,} bytes now, not {member.size:,}: the tar {_CHANGED}.", "vanished")
    missing = ahead + _TAR_BLOCK + member.size - len(data)
    if missing:
        raise ImageError(f"The tar is cut short: {missing:,} bytes are missing.", "truncated")
    return data[ahead + _TAR_BLOCK :]


def plain_name(name: str) -> str:
    """`./a.jpg`, as `tar -C` writes it, is `a.jpg`."""
    return name.removeprefix("./")


def _tar_name(headers: bytes, ahead: int) -> str:
    """The name that a tar's headers have for a file, its own at the byte `ahead`, as the listing has it."""
    if not ahead:
        prefix, name = (headers[field].partition(b"\0")[0] for field in (_PREFIX, _NAME))
        if not prefix:
            return plain_name(os.fsdecode(name))
    try:
        with tarfile.open(fileobj=io.BytesIO(headers), mode="r:", errors="surrogateescape") as tar:
            info = tar.next()
    except (tarfile.TarError, EOFError, ValueError):
        info = None
    if info is None or info.offset_data != len(headers):
        raise ImageError(f"There is no header where it was in the tar, which {_CHANGED}.", "vanished")
    return plain_name(info.name)


def _size_in(header: bytes) -> int:
    """The size that the header of a tar's file has for it."""
    if header[_MAGIC] == b"ustar" and header[_SIZE].isdigit():
        return int(header[_SIZE], 8)  # This fits nearly every tar, and is many times as fast.
    try:
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").size
    except tarfile.HeaderError:
        raise ImageError(f"There is no header where it was in the tar, which {_CHANGED}.", "vanished") from None


def read_zip_member(
    read_at: ReadAt, member: Member, name: str, really: Callable[[int], str | None] = lambda offset: None
) -> bytes:
    """The bytes of the file `name` of a zip.

    Raises ImageError when the zip is another one now, ends within it, or holds bytes that don't fit their checksum;
    OtherName when both the file's own header and the zip's directory have another name: `really` gives the directory's
    name for the file at an offset. Programs write the two in different ways.
    """
    ahead = _LOCAL_HEADER.size + len(os.fsencode(name)) + _EXTRA_BYTES
    data = read_at(member.offset, ahead + member.stored)
    if len(data) < _LOCAL_HEADER.size:
        raise ImageError("The zip is cut short: it ends before this image.", "truncated")
    if data[:4] != _SIGNATURE:
        raise ImageError(f"There is no file where it was in the zip, which {_CHANGED}.", "vanished")
    *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(data)
    begin = _LOCAL_HEADER.size + name_bytes + extra_bytes
    if begin > ahead:
        data += read_at(member.offset + len(data), begin - ahead)
    raw, extra = data[_LOCAL_HEADER.size :][:name_bytes], data[_LOCAL_HEADER.size + name_bytes : begin]
    if len(data) >= begin and not _is_called(name, raw, extra) and really(member.offset) != name:
        shown = raw.decode("utf-8", "replace")[:200]
        raise OtherName(f"The file there is {shown} now: the zip {_CHANGED}.", "vanished")
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


def _is_called(name: str, raw: bytes, extra: bytes) -> bool:
    """Whether the name in a file's own header of a zip, in any way that programs write it, is `name`."""
    names = {raw.decode("utf-8", "surrogateescape"), raw.decode("cp437")}
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == _UNICODE_NAME:
            names.add(extra[9 : 4 + length].decode("utf-8", "replace"))
        extra = extra[4 + length :]
    return any(plain_name(found.partition("\0")[0]) == name for found in names)


def _inflated(stored: bytes, member: Member) -> bytes:
    if member.method == zipfile.ZIP_STORED:
        return stored
    try:
        # One byte more than expected shows that the file has more, and no more of it is unpacked.
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
