"""Image paths as text: a file name on Linux is bytes, while Parquet, JSON and people want UTF-8."""

import os
from urllib.parse import quote_from_bytes, unquote_to_bytes

_SCHEME = "file://"


def to_text(path: str) -> str:
    """Write `path`, as `os.listdir` or `os.fsdecode` give it, as text that UTF-8 can hold.

    Nearly every path comes back as it is. One whose bytes are no UTF-8, or that itself starts with `file://`, becomes
    `file://` followed by its bytes, percent-escaped. `to_os_path` is the inverse.
    """
    raw = os.fsencode(path)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return _SCHEME + quote_from_bytes(raw)
    return _SCHEME + quote_from_bytes(raw) if text.startswith(_SCHEME) else text


def to_os_path(text: str) -> str:
    """The path that `to_text` wrote as `text`, ready for `open` and `os.stat`."""
    if text.startswith(_SCHEME):
        return os.fsdecode(unquote_to_bytes(text.removeprefix(_SCHEME)))
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))
