"""The notebooks as they are committed: no outputs, an honest badge, what they install, and lookalike's door alone."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.support.notebooks import NOTEBOOKS, read_notebook

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PIP = re.compile(r'^\s*%pip install -q "lookalike\[([\w,]+)\]"$', re.MULTILINE)
# What a notebook may import beside lookalike: to show an image, to look for what is installed, and Colab's own.
ALLOWED = {"lookalike", "IPython.display", "importlib.util", "shutil", "google.colab"}

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_of(path: Path) -> list[str]:
    return [cell.source for cell in read_notebook(path.stem).cells if cell.cell_type == "code"]


def test_there_are_two(path: Path) -> None:
    assert [one.name for one in NOTEBOOKS] == ["colab_drive.ipynb", "quickstart.ipynb"]
    assert f"notebooks/{path.name}" in (ROOT / "README.md").read_text()


def test_it_is_valid_and_holds_no_output_and_nothing_of_a_machine(path: Path) -> None:
    raw = json.loads(path.read_text())
    nbformat.validate(raw)
    assert raw["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in raw["cells"]:
        assert cell["metadata"] in ({}, {"tags": ["parameters"]})
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), cell["id"]
    ids = [cell["id"] for cell in raw["cells"]]
    assert len(set(ids)) == len(ids)


def test_the_badge_is_first_and_leads_to_the_repository_where_that_is_known(path: Path) -> None:
    first = read_notebook(path.stem).cells[0].source
    badge = re.fullmatch(r"\[!\[Open In Colab\]\((\S+/colab-badge\.svg)\)\]\((https://colab\.\S+)\)", first)
    assert badge is not None
    # A made-up address would open a stranger's notebook: without one, Colab asks for the repository.
    address = next((url for url in PROJECT["project"].get("urls", {}).values() if "//github.com/" in url), None)
    place = "" if address is None else f"{address.partition('//github.com')[2]}/blob/main/notebooks/{path.name}"
    assert badge[2] == f"https://colab.research.google.com/github{place}"


def test_it_installs_extras_that_exist_and_only_where_lookalike_is_missing(path: Path) -> None:
    (install,) = [source for source in code_of(path) if "%" in source]
    named = PIP.findall(install)
    assert len(named) == install.count("%pip") == (2 if path.stem == "colab_drive" else 1)
    extras = {extra for line in named for extra in line.split(",")}
    assert extras <= set(PROJECT["project"]["optional-dependencies"])
    assert extras == ({"worker", "gpu"} if path.stem == "colab_drive" else {"worker", "demo"})
    guard = install.index('if find_spec("lookalike") is None:')
    assert all(guard < line.start() for line in PIP.finditer(install))


def test_its_parameters_are_one_tagged_cell_before_any_work(path: Path) -> None:
    cells = [cell for cell in read_notebook(path.stem).cells if cell.cell_type == "code"]
    (place,) = [place for place, cell in enumerate(cells) if cell.metadata.get("tags") == ["parameters"]]
    assert place == 1, "right after the installation"
    tree = ast.parse(cells[place].source)
    assert all(isinstance(line, ast.Assign) for line in tree.body)
    for line in tree.body:
        assert isinstance(line, ast.Assign)
        ast.literal_eval(line.value)  # Whatever replaces it has nothing else to replace.


def test_it_uses_lookalike_by_its_door_alone_and_no_shell(path: Path) -> None:
    named = set(imported(code_of(path)))
    assert named <= ALLOWED
    assert "lookalike" in named
    assert not any(re.search(r"^\s*[!%](?!pip )", source, re.MULTILINE) for source in code_of(path))


def imported(sources: list[str]) -> Iterator[str]:
    for source in sources:
        tree: Any = ast.parse(PIP.sub(lambda line: line[0].replace("%", "#").replace("#", "pass  #", 1), source))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield str(node.module)
