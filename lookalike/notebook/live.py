"""Show the events of a run in one place that is written anew: an output of a notebook, or a line of a terminal."""

import shutil
import sys
import time
from html import escape
from typing import Any, Final

from lookalike.notebook.shown import bar, is_notebook
from lookalike.program import Event

_LINE_SECONDS: Final = 10.0
_MOST_KEPT: Final = 30


class Live:
    """Shows each `Event` in the place of the one before it, below the sentences that are to be kept.

    Give one as `progress` to one call of `lookalike.index`, `doctor`, `pack` or `evaluate`. A notebook shows one
    output, which does not grow with the time that the work takes, and needs no widgets for it; a terminal shows one
    line. In a file or a pipe each kept sentence is a line, and one line in ten seconds says how far the work is.
    """

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._passing: Event | None = None
        self._handle: Any = None
        self._last = -_LINE_SECONDS

    def __call__(self, event: Event) -> None:
        self._passing = event if event.passing else None
        if not event.passing:
            self._kept.append(event.sentence)
        if is_notebook():
            self._show()
        elif sys.stdout.isatty():
            _rewrite(event)
        elif not event.passing or time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic() if event.passing else self._last
            sys.stdout.write(f"{event.sentence}\n")
            sys.stdout.flush()

    def _show(self) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display(self, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(self)

    def _lines(self) -> list[str]:
        left_out = len(self._kept) - _MOST_KEPT
        if left_out <= 0:
            return list(self._kept)
        return [f"… {left_out:,} earlier lines …", *self._kept[left_out:]]

    def __repr__(self) -> str:
        return "\n".join([*self._lines(), *([] if self._passing is None else [self._passing.sentence])])

    def _repr_html_(self) -> str:
        parts = [f"<div>{escape(line).replace(chr(10), '<br>')}</div>" for line in self._lines()]
        if (now := self._passing) is not None:
            counted = "" if now.done is None or now.listed is None else f"<div>{bar(now.done, now.listed)}</div>"
            parts.append(f"{counted}<div>{escape(now.sentence)}</div>")
        return f'<div style="line-height:1.6;overflow-wrap:anywhere">{"".join(parts)}</div>'


def _rewrite(event: Event) -> None:
    """Write an event over the line of a terminal; one that is to be kept ends the line."""
    text = event.sentence
    if event.passing:  # A line that the terminal folds could not be written over.
        text = " ".join(text.split())[: shutil.get_terminal_size().columns - 1]
    sys.stdout.write(f"\r\x1b[K{text}{'' if event.passing else chr(10)}")
    sys.stdout.flush()
