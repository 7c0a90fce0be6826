"""Read the contents of a tar or a zip in order, from its headers alone."""

import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Final

from shared.errors import ImageError, SourceError
from shared.images.members import Member, plain_name
from shared.images.paths import member_text

_ZEROS: Final = 1 << 16  # How much is read at once behind the end of a tar.
_ENCRYPTED: Final = 0x1  # The flag of a zip's file whose bytes are encrypted.

_NAMING: Final = {"path", "hdrcharset"}


@dataclass(frozen=True, slots=True)
class Inside:
    """A file in an archive: its `name` there, and where it is; None for what can't be read, and then `why` says the
    reason.
    """

    name: str
    member: Member | None
    why: str | None = None


def tar_files(file: IO[bytes], archive: str) -> Iterator[Inside]:
    """The files of the tar `archive`, in order, also of tars that were put end to end.

    Raises SourceError when it is no tar, is compressed, ends too early, or when something else is behind its end.
    """
    try:
        begins: int | None = 0
        while begins is not None:
            file.seek(begins)
            with tarfile.open(fileobj=file, mode="r:", errors="surrogateescape") as tar:
                while (info := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # It would keep them all, a kilobyte each.
                    if info.isreg() and not info.issparse():
                        offset = info.offset_data - tarfile.BLOCKSIZE
                        # A global header may change names, too: then a file's own headers don't tell its name.
                        ahead = None if tar.pax_headers.keys() & _NAMING else offset - info.offset
                        yield Inside(plain_name(info.name), Member(offset, info.size, info.size, ahead=ahead))
                    elif not info.isdir():
                        linked = info.islnk() or info.issym()
                        why = "link in an archive" if linked else "not a regular file"
                        yield Inside(plain_name(info.name), None, why)
                ends = tar.offset
            # For Python, an invalid header ends a tar as its real end does, and what is behind would be lost.
            file.seek(ends)
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError(f"at byte {ends:,} there is no header")
            begins = _next_tar(file, ends)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise SourceError(
            f"The tar {archive} can't be read to its end ({error}): get it whole again, or leave it out of the source. "
            "Of a compressed tar no single image can be read: unpack it, or make it without compression."
        ) from None


def _next_tar(file: IO[bytes], ends: int) -> int | None:
    """The start of the tar that was put behind one that `ends` there; None when only zeros follow."""
    file.seek(ends)
    while part := file.read(_ZEROS):
        ends += len(part)
        if not (rest := part.lstrip(b"\0")):
            continue
        begins = (ends - len(rest)) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
        file.seek(begins)
        try:
            tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            raise tarfile.ReadError(f"at byte {begins:,}, behind its end, lies what is no tar") from None
        return begins
    return None


def zip_files(file: IO[bytes], archive: str) -> Iterator[Inside]:
    """The files of the zip `archive`, in its order. Raises SourceError when it is no zip or ends too early."""
    try:
        with zipfile.ZipFile(file) as opened:
            entries = opened.infolist()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        raise SourceError(
            f"The zip {archive} can't be read ({error}): get it whole again, or leave it out of the source."
        ) from None
    for info in entries:
        if info.is_dir():
            continue
        if info.flag_bits & _ENCRYPTED:
            yield Inside(plain_name(info.filename), None, "encrypted file in a zip")
        else:
            member = Member(info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC)
            yield Inside(plain_name(info.filename), member)


FILES: Final[dict[str, Callable[[IO[bytes], str], Iterator[Inside]]]] = {".tar": tar_files, ".zip": zip_files}
"""The function that lists an archive, by its suffix."""


def find(file: IO[bytes], archive: str, suffix: str, name: str) -> Member:
    """The place of `name` in an archive, found by reading it from its beginning; ImageError when it is not there.

    Raises SourceError as the listing does.
    """
    for inside in FILES[suffix](file, archive):
        if inside.name == name and inside.member is not None:
            return inside.member
    raise ImageError(
        f"There is no image {member_text(archive, name)}: the archive holds none of that name.", "vanished"
    )
