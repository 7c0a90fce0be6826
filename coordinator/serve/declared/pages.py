"""Describe the declared operations for people: as Markdown, and as a page of HTML (pure)."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from http import HTTPStatus
from typing import Final

from coordinator.serve.declared.fields import Field
from coordinator.serve.declared.operation import Operation
from coordinator.serve.declared.operations import EVERYWHERE, PATH_FIELDS

Table = tuple[str, Sequence[tuple[str, str]]]
STYLE: Final = """\
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
td { border-top: 1px solid var(--line); padding: .3rem .8rem .3rem 0; vertical-align: top; }
td:first-child { white-space: nowrap; }
code { font: .95em ui-monospace, monospace; overflow-wrap: anywhere; }
"""


def _tables(operation: Operation) -> Iterator[Table]:
    """What an operation takes and refuses: the title of each table, and its rows."""
    asked = [("In the path", [PATH_FIELDS[name] for name in operation.path_fields]), ("In the query", operation.query),
             ("In a form", operation.parts), ("In a JSON object", operation.json)]  # fmt: skip
    for title, fields in asked:
        if fields:
            yield title, [(field.name, _told(field)) for field in fields]
    refuses = [(f"{status} {HTTPStatus(status).phrase}", when) for status, when in sorted(operation.refuses.items())]
    if refuses:
        yield "Refused", refuses


def _told(field: Field) -> str:
    kind = {"integers": "a list of whole numbers", "numbers": "a list of numbers"}.get(field.kind, field.kind)
    facts = [", ".join(field.choices) or kind, field.bounds]
    if field.required:
        facts.append("required")
    if field.default is not None:
        facts.append(f"default {str(field.default).lower()}")
    return f"{field.what} ({'; '.join(filter(None, facts))})"


def _who(operation: Operation) -> str:
    return "no key" if operation.scope is None else f"a key for {operation.scope}, where there are keys"


def _answer(operation: Operation) -> str:
    return f"Answers {operation.reply.status} with {operation.reply.media_type}: {operation.reply.what}"


def markdown(operations: Sequence[Operation]) -> str:
    """The sections of a document, one for each operation, and the statuses that all have."""
    parts = []
    for operation in operations:
        parts.append(f"### {operation.method} {operation.path}")
        parts.append(" ".join(filter(None, (operation.summary, operation.what, f"Needs {_who(operation)}."))))
        parts += [_rows(title, rows) for title, rows in _tables(operation)]
        parts.append(_answer(operation))
    parts.append("### Problems of any operation")
    everywhere = [(f"{status} {HTTPStatus(status).phrase}", when) for status, when in sorted(EVERYWHERE.items())]
    parts.append(_rows("Status", everywhere))
    return "\n\n".join(parts)


def _rows(title: str, rows: Sequence[tuple[str, str]]) -> str:
    cells = [(title, ""), ("---", "---"), *((f"`{name}`", what) for name, what in rows)]
    return "\n".join(f"| {name} | {what.replace('|', chr(92) + '|')} |" for name, what in cells)


def docs_page(operations: Sequence[Operation], kinds: Mapping[str, tuple[int, str]], version: str) -> str:
    """The page /docs; `kinds` says of each kind of problem its status and what it means."""
    body = [f"<h1>lookalike {escape(version)}: the HTTP API</h1>"]
    body.append('<p>For programs: <a href="/openapi.json">openapi.json</a>. <a href="/">The jobs</a>.</p>')
    for operation in operations:
        body.append(f'<h2 id="{operation.name}"><code>{operation.method} {escape(operation.path)}</code></h2>')
        said = " ".join(filter(None, (operation.summary, operation.what, f"Needs {_who(operation)}.")))
        body.append(f"<p>{escape(said)}</p>")
        body += [_html_table(title, rows) for title, rows in _tables(operation)]
        body.append(f"<p>{escape(_answer(operation))}</p>")
    everywhere = [(f"{status} {HTTPStatus(status).phrase}", when) for status, when in sorted(EVERYWHERE.items())]
    body.append("<h2>Problems</h2>" + _html_table("Of any operation", everywhere))
    rows = "".join(
        f'<tr id="{escape(kind)}"><td><code>{escape(kind)}</code></td><td>{status}</td><td>{escape(what)}</td></tr>'
        for kind, (status, what) in kinds.items()
    )
    body.append(f"<table><caption>Kinds</caption>{rows}</table>")
    return page("lookalike: the HTTP API", "\n".join(body))


def home_page(jobs: Sequence[tuple[str, str]] | None, version: str) -> str:
    """The page / with the id and the path of each job; None where a key is needed to know them."""
    body = [f"<h1>lookalike {escape(version)}</h1>", '<p>Search images over HTTP: <a href="/docs">the API</a>.</p>']
    if jobs is None:
        body.append("<p>This server needs a key, and this page names no jobs.</p>")
    elif not jobs:
        body.append("<p>There is no job here yet.</p>")
    else:
        items = "".join(f'<li>{escape(job)}: <a href="{escape(path)}/status">status</a></li>' for job, path in jobs)
        body.append(f"<h2>Jobs</h2><ul>{items}</ul>")
    return page("lookalike", "\n".join(body))


def page(title: str, body: str) -> str:
    """A page of HTML that loads nothing but its style."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/style.css"></head>'
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _html_table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><td><code>{escape(name)}</code></td><td>{escape(what)}</td></tr>" for name, what in rows)
    return f"<table><caption>{escape(title)}</caption>{lines}</table>"
