"""Image paths as text: a file name on Linux is bytes, while Parquet, JSON and people want UTF-8."""

import os
import re
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

_SCHEME = "file://"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
ARCHIVE_SUFFIXES: Final = (".tar", ".zip", ".parquet")
"""Files that hold images which have a path of their own each, `ARCHIVE::MEMBER`."""
_MEMBER = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, ARCHIVE_SUFFIXES))}))::(.+)", re.IGNORECASE | re.DOTALL)


def to_text(path: str) -> str:
    """Write `path`, as `os.listdir` or `os.fsdecode` give it, as text that UTF-8 can hold.

    Nearly every path comes back as it is. One whose bytes are no UTF-8, or that would be read as a URL or as a member
    of an archive, becomes `file://` followed by its bytes, percent-escaped. `to_os_path` is the inverse.
    """
    raw = os.fsencode(path)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return _SCHEME + quote_from_bytes(raw)
    if ":" in text and (_URL.match(text) or _MEMBER.fullmatch(text)):
        return _SCHEME + quote_from_bytes(raw)
    return text


def to_os_path(text: str) -> str:
    """The path that `to_text` wrote as `text`, ready for `open` and `os.stat`."""
    if text.startswith(_SCHEME):
        return os.fsdecode(unquote_to_bytes(text.removeprefix(_SCHEME)))
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def is_url(text: str) -> bool:
    """Whether `text` names a place that fsspec opens (s3://, gs://, https://, memory://, …) and no file on a disk."""
    return _URL.match(text) is not None and not text.startswith(_SCHEME)


def member_text(archive: str, member: str) -> str:
    """The path of the image `member` in `archive`, a text as `to_text` makes it, or a URL."""
    return f"{archive}::{to_text(member)}"


def split_member(text: str) -> tuple[str, str] | None:
    """The archive and the name within it, of a path that `member_text` made; None for any other."""
    archive, found, member = text.partition("::")
    if not (member and archive.lower().endswith(ARCHIVE_SUFFIXES)):
        # Most have none, and looking for one takes longer.
        match = _MEMBER.fullmatch(text) if found else None
        if match is None:
            return None
        archive, member = match[1], match[2]
    return archive, to_os_path(member)
