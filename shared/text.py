"""Write and read amounts, and show addresses without their secrets, alike in every process."""

import datetime
import json
import re
from decimal import Decimal
from typing import Any, Final

from shared.errors import UsageError

_SIZE: Final = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kMGT]?B)?", re.ASCII)
_UNITS: Final = {None: 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
# Secrets that libraries put into their messages, and people into addresses, and that must not be in a log.
_SECRETS: Final = re.compile(r"(?<=:/)(/*)[^\s/@'\"]*@|\?[^\s'\"]*")


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 1 min 11 s, 3 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: int) -> str:
    """Bytes as people say them: 512 B, 1.5 kB, 3.2 GB."""
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def size_of(text: str) -> int:
    """Bytes of a size as people type it: 800MB, 1.5GB, 150000000. Raises UsageError for what is no size."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no size: type bytes, or a number with kB, MB, GB or TB, such as 800MB.")
    return int(float(match["number"]) * _UNITS[match["unit"]])


def without_secrets(text: str) -> str:
    """`text` without what its image and store addresses have before `@` and behind `?`. Brokers' addresses follow the
    rule of `shared.broker.url`, as their passwords may hold any character.
    """
    return _SECRETS.sub(r"\1", text)


def text_of(value: Any) -> str:
    """The text of a value of a source: as it was written where that is known, `.text`; dates as ISO 8601 has them.

    Halves of surrogate pairs, which JSON may hold and UTF-8 can't, become their escapes.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict | list | bool):
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    return str(getattr(value, "text", value))
