"""Write the match page of searches as one file, which any browser opens from disk: the page's own modules, inlined."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from shared.storage.files import write_bytes

_ENTRY: Final = "file.js"
_IMPORT: Final = re.compile(r'(^import [^"]*?from )"(\.[^"]+)"', re.MULTILINE)
_STATIC: Final = files(__package__) / "static"


def write_match_page(path: Path, job: str, searches: Sequence[Mapping[str, Any]]) -> None:
    """Write the page of `searches`, each with its `query`, `result`, `pictures`, `k` and `isFiltered` as file.js reads
    them. Raises OSError as the file system gives it.
    """
    write_bytes(path, match_page(job, searches).encode())


def match_page(job: str, searches: Sequence[Mapping[str, Any]]) -> str:
    """The page as HTML; it holds its style, its modules and its pictures, and loads nothing."""
    # In JSON, a "<" as its escape can end no script and begin no comment.
    told = json.dumps({"job": job, "searches": list(searches)}).replace("<", "\\u003c")
    imports = json.dumps({"imports": modules()})
    return _PAGE.format(
        title=escape(f"Matches in {job}"),
        style=(_STATIC / "style.css").read_text("utf-8"),
        imports=imports,
        searches=told,
        entry=_bare(_ENTRY),
    )


def modules() -> dict[str, str]:
    """The module file.js and all that it imports, as data: URLs by names that an import map knows.

    A module at a data: URL has no place that "./lib/dom.js" could be relative to, so imports name modules instead.
    """
    found: dict[str, str] = {}
    left = [_ENTRY]
    while left:
        path = left.pop()
        if _bare(path) in found:
            continue
        folder = path.rpartition("/")[0]

        def named(match: re.Match[str], folder: str = folder) -> str:
            target = _joined(folder, match[2])
            left.append(target)
            return f'{match[1]}"{_bare(target)}"'

        text = _IMPORT.sub(named, (_STATIC / path).read_text("utf-8"))
        found[_bare(path)] = f"data:text/javascript;base64,{base64.b64encode(text.encode()).decode()}"
    return found


def _bare(path: str) -> str:
    return f"lookalike/{path}"


def _joined(folder: str, relative: str) -> str:
    parts = [part for part in folder.split("/") if part]
    for part in relative.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}
</style>
<script type="importmap">{imports}</script>
</head>
<body>
<header id="bar"><span class="brand">lookalike</span><span class="job">{title}</span></header>
<main id="main" tabindex="-1"><noscript>This page needs JavaScript.</noscript></main>
<p id="said" class="unseen" role="status" aria-live="polite"></p>
<script type="application/json" id="searches">{searches}</script>
<script type="module">import "{entry}";</script>
</body>
</html>
"""
