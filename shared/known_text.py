"""Known values as text: how a value reads in a column in which values of several kinds meet."""

import datetime
import json
from decimal import Decimal
from typing import Any


def text_of(value: Any) -> str:
    """The text of a value of a source: as it was written where that is known, `.text`; dates as ISO 8601 has them.

    Halves of surrogate pairs, which JSON may hold and UTF-8 can't, stand as their escapes.
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
