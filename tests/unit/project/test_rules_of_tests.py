"""What tests may import of each other and replace: what they share is in tests/support, and private names stay."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).relative_to(ROOT)
NOT_OURS = {"_exit"}  # Of os.


def imported(path: Path, nodes: list[ast.AST]) -> Iterator[list[str]]:
    """What the file at `path` imports, wherever in it, as the parts of its dotted name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = list(path.parts[: len(path.parts) - node.level]) if node.level else []
            module = above + (node.module.split(".") if node.module else [])
            yield from ([*module, alias.name] for alias in node.names)


def is_a_test(name: list[str]) -> bool:
    """Whether a module of the dotted name, or that which holds what is named, is a test file or a conftest."""
    paths = [ROOT.joinpath(*name[:count]).with_suffix(".py") for count in range(1, len(name) + 1)]
    return any((path.stem == "conftest" or path.stem.startswith("test_")) and path.is_file() for path in paths)


def nodes_of(source: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(source)))


def refused(path: Path, nodes: list[ast.AST]) -> list[str]:
    """What a file of tests may not import: test files, conftests, and what another folder of tests has for itself."""
    return [
        ".".join(name)
        for name in imported(path, nodes)
        if name[0] == "tests" and (is_a_test(name) or name[1] not in ("support", path.parts[1]))
    ]


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[list[str], list[str]]]:
    """What each file of tests imports and replaces that it may not, by its path. Each is parsed once."""
    found = {}
    for path in (ROOT / "tests").rglob("*.py"):
        nodes, here = nodes_of(path.read_text()), path.relative_to(ROOT)
        found[str(here)] = refused(here, nodes), replaced(nodes)
    assert len(found) > 200
    return found


def test_no_test_imports_another(found: dict[str, tuple[list[str], list[str]]]) -> None:
    assert {path: imports for path, (imports, _) in found.items() if imports} == {}


@pytest.mark.parametrize(
    "line",
    [
        "from tests.unit.conftest import run",
        "from tests.unit.project.test_docs import ROOT",
        "import tests.unit.project.test_docs",
        "from tests.unit.project import test_docs as docs",
        "from . import test_docs",
        "from .test_docs import ROOT",
        "from ..conftest import run",
        "def test():\n    from tests import conftest",
        "from tests.integration.faults.faults import Faults",
    ],
)
def test_an_import_of_another_test_is_noticed(line: str) -> None:
    assert len(refused(HERE, nodes_of(line))) == 1


@pytest.mark.parametrize(
    "line", ["from tests.support.make_job import unit", "from shared.job import builds", "from . import helpers"]
)
def test_what_tests_share_may_be_imported(line: str) -> None:
    assert refused(HERE, nodes_of(line)) == []


def replaced(nodes: list[ast.AST]) -> list[str]:
    """The private names that `setattr(module, "name", ...)` or `setattr("module.name", ...)` of pytest replaces."""
    calls = [
        node
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr"
    ]
    texts = [one.value for call in calls for one in call.args[:2] if isinstance(one, ast.Constant)]
    names = [text.rpartition(".")[2] for text in texts if isinstance(text, str)]
    return [name for name in names if name.startswith("_") and not name.endswith("__") and name not in NOT_OURS]


def test_no_test_replaces_a_private_name(found: dict[str, tuple[list[str], list[str]]]) -> None:
    assert {path: names for path, (_, names) in found.items() if names} == {}


@pytest.mark.parametrize("line", ['patch.setattr(files, "_wait", 1)', 'patch.setattr("shared.storage.files._wait", 1)'])
def test_a_private_name_that_is_replaced_is_noticed(line: str) -> None:
    assert replaced(nodes_of(line)) == ["_wait"]
    ours, of_os = line.replace("_wait", "wait"), 'patch.setattr(os, "_exit", 1)'
    assert replaced(nodes_of(ours)) == replaced(nodes_of(of_os)) == []
