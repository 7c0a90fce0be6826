"""Write image paths as text and back: a file name on Linux is bytes, while Parquet, JSON and people need UTF-8."""

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

_SCHEME = "file://"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# What moves the cursor of a terminal, colours it, or ends a line of a list.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
ARCHIVE_SUFFIXES: Final = (".tar", ".zip", ".parquet")
"""Suffixes of files that hold images, each of which has a path of its own, `ARCHIVE::MEMBER`."""
_MEMBER = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, ARCHIVE_SUFFIXES))}))::(.+)", re.IGNORECASE | re.DOTALL)


def expanded(path: Path) -> Path:
    """`path` with the home in place of its "~"; unchanged if no user has that name, or no home is known.

    `Path.expanduser` would raise RuntimeError there, and a folder may well be called "~old".
    """
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def to_text(path: str) -> str:
    """Write `path`, as `os.listdir` or `os.fsdecode` give it, as text that UTF-8 can hold.

    Nearly every path comes back as it is. One whose bytes are no UTF-8, that holds a control character such as a
    newline, or that would be read as a URL or as a member of an archive, becomes `file://` followed by its bytes,
    percent-escaped. `to_os_path` is the inverse.
    """
    raw = os.fsencode(path)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return _SCHEME + quote_from_bytes(raw)
    # Asking whether all of it can be printed takes less time than looking for what can't.
    control = not text.isprintable() and _CONTROL.search(text)
    if control or (":" in text and (_URL.match(text) or _MEMBER.fullmatch(text))):
        return _SCHEME + quote_from_bytes(raw)
    return text


def to_os_path(text: str) -> str:
    """The path that `to_text` wrote as `text`, ready for `open` and `os.stat`."""
    if text.startswith(_SCHEME):
        return os.fsdecode(unquote_to_bytes(text.removeprefix(_SCHEME)))
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def absolute(typed: str) -> str:
    """The text that a job lists for an image that was typed: of a path the absolute one."""
    if is_url(typed):
        return typed
    if (inside := split_member(typed)) is not None:
        return member_text(absolute(inside[0]), inside[1])
    return to_text(os.path.abspath(os.path.expanduser(to_os_path(typed))))


def is_file_uri(text: str) -> bool:
    """Whether `text` is a file of a disk whose name `to_text` could not write plainly."""
    return text.startswith(_SCHEME)


def shown_path(text: str) -> str:
    """`text`, the path of an image, as it can be shown in one line and typed again.

    Jobs made before `to_text` escaped control characters may list paths that hold some.
    """
    if text.isprintable() or not _CONTROL.search(text):
        return text
    inside = split_member(text)
    if inside is not None:
        return member_text(shown_path(inside[0]), inside[1])
    return printable(text) if is_url(text) else to_text(to_os_path(text))


def printable(text: str) -> str:
    """`text` in which control characters, but for ends of lines and tabs, are escaped: `\\x1b` for ESC."""
    if text.isprintable():
        return text
    return _CONTROL.sub(lambda found: found[0] if found[0] in "\n\t" else ascii(found[0])[1:-1], text)


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
