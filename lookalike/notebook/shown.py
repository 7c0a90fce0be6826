"""Make the HTML that a notebook shows of results, and tell whether this is a notebook."""

import sys
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Final

_CELL: Final = "text-align:left;vertical-align:top;padding:2px 16px 2px 0;border:none"


def is_notebook() -> bool:
    """Whether this program runs in the kernel of a notebook, which shows more than text."""
    # A program that has not loaded IPython is in none, and need not load it to know.
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Rows of texts as an HTML table; spaces before a text indent it."""
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    heads = "".join(f'<th style="{_CELL}">{escape(text)}</th>' for text in head)
    named = f"<thead><tr>{heads}</tr></thead>" if head else ""
    return f'<table style="border-collapse:collapse">{named}<tbody>{body}</tbody></table>'


def _cell(text: str) -> str:
    inside = text.lstrip(" ")
    indent = "&nbsp;" * 2 * (len(text) - len(inside))
    return f'<td style="{_CELL}">{indent}{escape(inside)}</td>'


def bar(done: int, of: int) -> str:
    """How much is done, as a bar."""
    return f'<progress value="{done}" max="{max(of, 1)}" style="width:100%;max-width:480px"></progress>'
