"""Read numbers from text: accept only text that a column of numbers gives back, and keep it as it was written."""

import math
import re
from decimal import Decimal
from typing import Final

_WHOLE: Final = re.compile(r"0|-?[1-9]\d{0,18}", re.ASCII)
_REAL: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_EXACT_DIGITS: Final = 15  # Every double gives back this many digits.
_MOST_DIGITS: Final = 800  # No double has more digits that are not zeros.


class Real(float):
    """A number with its text as it was written, `1.10`, which is used if the column becomes text."""

    __slots__ = ("text",)

    def __new__(cls, text: str) -> "Real":
        made = super().__new__(cls, text)
        made.text = text
        return made

    text: str


def as_number(text: str) -> int | Real | None:
    """The number in `text`: an int of 64 bits, or a Real; None if it is no number, or one that neither gives back.

    A double gives a text back when it has the value of the text to all of its digits: 0.1 and 1e5, also 0.1 written
    with 19 digits, but no identifier of 19 digits, not 4e999 and not pi to 30 places. `007`, `+5` and ` 5` are text.
    """
    if _WHOLE.fullmatch(text):
        whole = int(text)
        return whole if -(1 << 63) <= whole < 1 << 63 else None
    if len(text) > _MOST_DIGITS or not (found := _REAL.fullmatch(text)) or not (found[2] or found[3] or text == "-0"):
        return None
    real = Real(text)
    return real if _gives_back(real, text) else None


def _gives_back(real: float, text: str) -> bool:
    if not math.isfinite(real):
        return False
    mantissa = re.split("[eE]", text)[0].lstrip("-")
    digits = len(mantissa.replace(".", "").lstrip("0"))
    if not real:
        return not digits  # All digits are zeros; of 1e-999 nothing is left.
    if digits <= _EXACT_DIGITS and abs(real) > 1e-290:
        return True
    # The shortest text that a program wrote for a double need not be the one that Python rounds to, if two are as
    # close.
    return Decimal(text) in (Decimal(format(real, f".{digits - 1}e")), Decimal(repr(float(real))))
