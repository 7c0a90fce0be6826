"""Write the parts of the documentation that the code already says into docs/*.md: `python docs/generate.py`.

A part is between `<!-- generated: NAME WORDS -->` and `<!-- end -->`; everything else is written by hand. With
`--check` nothing is written, and the exit status is 1 when a file is not what this would write.
"""

import ast
import inspect
import re
import sys
import tomllib
import typing
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from typer.models import ArgumentInfo, OptionInfo

from coordinator import cli
from coordinator.serve.declared.operations import OPERATIONS
from coordinator.serve.declared.pages import markdown
from shared import errors
from shared.models import MODEL_NAMES, resolve_model
from shared.settings import BROKER_VARIABLES, PREFIX, Settings

DOCS = Path(__file__).parent
ROOT = DOCS.parent
_PART = re.compile(r"(<!-- generated: (\w+)(.*?) -->\n).*?(<!-- end -->)", re.DOTALL)


def written(text: str) -> str:
    """`text` of a document, with each generated part as the code gives it now."""
    return _PART.sub(lambda match: f"{match[1]}{_PARTS[match[2]](match[3].split())}\n{match[4]}", text)


def documents() -> list[Path]:
    """The documents that have a generated part."""
    return [path for path in sorted(DOCS.glob("*.md")) if _PART.search(path.read_text())]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _kind(annotation: object) -> str:
    names = {str: "text", int: "whole number", float: "number", Path: "path"}
    members = typing.get_args(annotation) or (annotation,)
    return next(names[member] for member in members if member in names)


def _settings(words: list[str]) -> str:
    rows = []
    for key in fields(Settings):
        variables = [PREFIX + key.name.upper()]
        if key.name == "broker_url":
            variables = list(BROKER_VARIABLES)
        least, most = key.metadata["least"], key.metadata["most"]
        bounds = ", ".join(key.metadata["choices"] or [_bounds(least, most).rstrip(".").lower()])
        default = "unset" if key.default is None else f"`{_number(key.default)}`"
        rows.append(
            [
                f"`{key.name}`",
                bounds if key.metadata["choices"] else ", ".join(filter(None, [_kind(key.type), bounds])),
                default,
                key.metadata["what"],
                ", ".join(f"`{variable}`" for variable in variables),
            ]
        )
    return _table(["name", "type", "default", "what", "environment"], rows)


def _number(value: Any) -> str:
    """A value as it may be written in lookalike.toml."""
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:_}" if value >= 10_000 else f"{value:g}"


def _commands(words: list[str]) -> str:
    return "\n\n".join(
        _command(command.name or command.callback.__name__, command.callback)
        for command in cli.application().registered_commands
        if command.callback is not None
    )


def _command(called: str, function: Callable[..., object]) -> str:
    """The section of one command, from the declarations that its `--help` is made of."""
    hints = typing.get_type_hints(function, include_extras=True)
    arguments: list[str] = []
    rows: list[list[str]] = []
    for name, parameter in inspect.signature(function).parameters.items():
        kind, info, *_ = typing.get_args(hints[name])
        if isinstance(info, ArgumentInfo):
            shown = info.metavar or name.upper()
            arguments.append(shown if parameter.default is inspect.Parameter.empty else f"[{shown}]")
            rows.append([f"`{shown}`", str(info.help)])
        elif isinstance(info, OptionInfo):
            told = [str(info.help), _bounds(info.min, info.max), _default(parameter.default)]
            rows.append([f"`{_option(name, info, kind)}`", " ".join(filter(None, told))])
    usage = " ".join(["lookalike", called, "[OPTIONS]", *arguments])
    text = " ".join((inspect.getdoc(function) or "").split())
    return f"## lookalike {called}\n\n{text}\n\n```\n{usage}\n```\n\n{_table(['', ''], rows)}"


def _option(name: str, info: OptionInfo, kind: object) -> str:
    # Inside Annotated, Typer takes the first spelling for the default.
    declared = [word for word in (info.default, *(info.param_decls or ())) if isinstance(word, str)]
    spelled = " ".join(declared) or f"--{name.replace('_', '-')}"
    return spelled if kind is bool else f"{spelled} {info.metavar or _kind(kind).split()[-1].upper()}"


def _bounds(least: float | None, most: float | None) -> str:
    if least is None or (least == 0 and most is None):
        return ""
    return f"At least {least:,g}." if most is None else f"{least:,g} to {most:,g}."


def _default(default: object) -> str:
    return "" if default is None or default is False else f"Default: `{default}`."


def _modules(words: list[str]) -> str:
    """The folders of a package, each with what it is and a table of its modules."""
    package = ROOT / words[0]
    parts = []
    for start in sorted(package.rglob("__init__.py"), key=lambda path: path.parent.parts):
        folder = start.parent
        paths = [path for path in sorted(folder.glob("*.py")) if path != start]
        rows = [[f"`{path.relative_to(ROOT)}`", _sentence(path)] for path in paths]
        head = "" if folder == package else f"**`{folder.relative_to(ROOT)}/`** {_sentence(start)}\n\n"
        parts.append(head + _table(["module", "what it does"], rows))
    return "\n\n".join(parts)


def _sentence(path: Path) -> str:
    """The first paragraph of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.split("\n\n")[0].split())


def _contracts(words: list[str]) -> str:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return "\n".join(f"- {contract['name']}." for contract in table["tool"]["importlinter"]["contracts"])


def _errors(words: list[str]) -> str:
    tree = inspect.cleandoc(errors.__doc__ or "").split("\n\n")[1]
    return f"```\n{inspect.cleandoc(tree)}\n```"


def _models(words: list[str]) -> str:
    sources = {"packaged": "in a package, nothing to download", "imagenet": "Keras downloads them, or `--weights`"}
    specs = [resolve_model(name) for name in MODEL_NAMES]
    rows = [[f"`{spec.name}`", str(spec.dim), str(spec.chunk_size), sources[spec.weights]] for spec in specs]
    return _table(["model", "dimensions", "images in a chunk", "weights"], rows)


def _http(words: list[str]) -> str:
    return markdown(OPERATIONS)


_PARTS: dict[str, Callable[[list[str]], str]] = {
    "settings": _settings,
    "commands": _commands,
    "modules": _modules,
    "contracts": _contracts,
    "errors": _errors,
    "models": _models,
    "http": _http,
}


def main(arguments: list[str]) -> int:
    stale = [path for path in documents() if written(path.read_text()) != path.read_text()]
    for path in stale:
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
        if arguments != ["--check"]:
            path.write_text(written(path.read_text()))
    return 1 if stale and arguments == ["--check"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
