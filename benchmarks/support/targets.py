"""Make the rows of a table of targets: the target, the measured value, and whether it is enough."""

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.support.tables import table

HEADS = ["target", "of", "measured", ""]

Row = Sequence[str]


def at_least(target: str, what: str, found: float, least: float, said: Callable[[float], str] = "{:.3f}".format) -> Row:
    """A row of what is to be `least` or more; `said` writes the measured value."""
    return [f"{target}: at least {least:g}", what, said(found), "met" if found >= least else "missed"]


def at_most(target: str, what: str, found: Any, most: Any, said: Callable[[Any], str]) -> Row:
    """A row of what is to be `most` or less; `said` writes both."""
    return [f"{target}: at most {said(most)}", what, said(found), "met" if found <= most else "missed"]


def seconds(count: float) -> str:
    return f"{count:.2f} s"


def milliseconds(count: float) -> str:
    return f"{count:.2f} ms"


def targets_of(rows: Sequence[Row]) -> str:
    """The table of these rows."""
    return table(HEADS, rows, right=2)
