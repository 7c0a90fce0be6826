"""What is in the working directory or on PYTHONPATH under one of our names: it is not run, or it is named."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import lookalike
from coordinator.local.workers import flower_command, worker_command
from shared import errors
from shared.processes.own import module_command
from shared.settings import without_settings
from workers.images.isolated import IsolatedReaders

LOOKALIKE = str(Path(sys.executable).with_name("lookalike"))
RAN = "raise SystemExit('the file of the user ran')\n"


def run(command: list[str], cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = without_settings(os.environ) | variables
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=environment, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of the user's with files under our names and those of libraries that we need."""
    folder = tmp_path / "theirs"
    for name in ("shared", "workers", "coordinator", "redis"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(RAN)
    for name in ("celery", "kombu", "flower", "numpy", "typer"):
        (folder / f"{name}.py").write_text(RAN)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        [LOOKALIKE, "--version"],
        [*worker_command(["merge"], "here"), "--help"],
        [*flower_command("127.0.0.1", 0), "--help"],
        [*IsolatedReaders(8, 100, 100).command],
        module_command("workers.pack.shrink", "x"),
    ],
)
def test_nothing_in_the_working_directory_is_taken_for_ours(theirs: Path, command: list[str]) -> None:
    done = run(command, theirs, LOOKALIKE_BROKER_URL="redis://127.0.0.1:1")  # It is not spoken to.
    assert "the file of the user ran" not in done.stdout + done.stderr
    assert "ImportError" not in done.stderr
    assert "ModuleNotFoundError" not in done.stderr


def test_flower_is_flower_where_the_working_directory_has_a_celery_and_workers(theirs: Path) -> None:
    command = [*flower_command("127.0.0.1", 0), "--help"]
    done = run(command, theirs, LOOKALIKE_BROKER_URL="redis://127.0.0.1:1")
    assert (done.returncode, "TORNADO_ARGV" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("command", [[LOOKALIKE], [sys.executable, "-m", "lookalike"]])
def test_a_folder_of_pythonpath_or_of_python_m_does_not_hide_ours_from_the_commands(
    theirs: Path, tmp_path: Path, command: list[str]
) -> None:
    done = run([*command, "--version"], theirs, PYTHONPATH=f"{tmp_path}{os.pathsep}{theirs}")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"lookalike {version('lookalike')}\n", "")


@pytest.mark.parametrize(
    "command",
    [
        [*worker_command(["merge"], "here"), "--help"],
        [*flower_command("127.0.0.1", 0), "--help"],
        module_command("workers.pack.shrink", "x"),
    ],
)
def test_a_folder_of_pythonpath_does_not_hide_ours_from_the_processes_that_commands_start(
    theirs: Path, command: list[str]
) -> None:
    done = run(command, theirs, PYTHONPATH=str(theirs), LOOKALIKE_BROKER_URL="redis://127.0.0.1:1")
    assert "the file of the user ran" not in done.stdout + done.stderr
    assert "ImportError" not in done.stderr
    assert "ModuleNotFoundError" not in done.stderr


def test_what_was_imported_before_a_command_began_is_named(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "__init__.py").touch()
    (tmp_path / "usercustomize.py").touch()
    (tmp_path / "sitecustomize.py").write_text("import shared")
    done = run([LOOKALIKE, "--version"], tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"lookalike: {tmp_path / 'shared'} hides lookalike's own package 'shared'")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["shared", "workers"])
def test_a_program_that_imports_our_packages_by_their_names_is_told_what_hides_them(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / "program.py").write_text("from coordinator.client.client import Client\n")
    done = run([sys.executable, "program.py"], tmp_path)
    assert done.returncode == 1
    assert f"ImportError: {tmp_path / name} hides lookalike's own package {name!r}" in done.stderr
    assert "programs that import `lookalike` alone do not mind it" in done.stderr


def test_what_hides_nothing_on_pythonpath_is_no_reason_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()  # Without __init__.py it hides no package.
    (tmp_path / "sitecustomize.py").touch()
    (tmp_path / "celery").mkdir()
    (tmp_path / "typer.py").write_text("raise SystemExit('an installed library of another place')")
    (tmp_path / "typer-9.dist-info").mkdir()  # Installed there, as modules of a cluster are: theirs to choose.
    done = run([LOOKALIKE, "--version"], tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "an installed library of another place\n")
    (tmp_path / "typer.py").unlink()
    done = run([LOOKALIKE, "--version"], tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


# A program of the user's.


def program(folder: Path, text: str) -> "subprocess.CompletedProcess[str]":
    (folder / "program.py").write_text(text)
    return run([sys.executable, "program.py"], folder)


@pytest.fixture
def their_project(tmp_path: Path) -> Path:
    """A project of the user's with packages of our names, modules of ours in them, and a script `celery.py`."""
    for package in ("shared", "workers", "coordinator"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f"NAME = 'their {package}'\n")
        for module in ("errors", "settings", "app", "client"):
            (tmp_path / package / f"{module}.py").write_text(f"NAME = 'their {package}.{module}'\n")
    for library in ("celery", "redis", "numpy", "kombu"):
        (tmp_path / f"{library}.py").write_text(RAN)
    return tmp_path


USES_LOOKALIKE = """
import lookalike
try:
    lookalike.connect("photos", broker="redis://127.0.0.1:1/0")
except lookalike.BrokerUnreachable as error:
    assert isinstance(error, lookalike.LookalikeError)
    print("told")
"""
USES_THEIRS = """
import coordinator.client, shared.errors, workers
from shared import settings
from workers.app import NAME
print(shared.NAME, shared.errors.NAME, settings.NAME, workers.NAME, NAME, coordinator.client.NAME, sep=", ")
"""
THEIRS = ", ".join(
    ["their shared", "their shared.errors", "their shared.settings", "their workers", "their workers.app",
     "their coordinator.client"]
)  # fmt: skip


@pytest.mark.parametrize("text", [USES_LOOKALIKE + USES_THEIRS, USES_THEIRS + USES_LOOKALIKE])
def test_a_program_has_its_own_packages_of_our_names_beside_lookalike(their_project: Path, text: str) -> None:
    done = program(their_project, text)
    assert (done.returncode, set(done.stdout.splitlines())) == (0, {"told", THEIRS}), done.stderr


def test_a_library_that_a_script_hid_before_lookalike_was_imported_is_named(their_project: Path) -> None:
    (their_project / "celery.py").write_text("")
    done = program(their_project, "import celery\n" + USES_LOOKALIKE)
    assert done.returncode == 1
    assert (
        f"ImportError: {their_project / 'celery.py'} hides the library 'celery', which lookalike needs" in done.stderr
    )


def test_hits_and_errors_of_a_program_travel_to_its_other_processes(their_project: Path) -> None:
    done = program(
        their_project,
        """
import multiprocessing, lookalike
def kind(error):
    return type(error) is lookalike.QueryError, str(error)
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map_async(kind, [lookalike.QueryError("k is 0.")]).get(60))
""",
    )
    assert (done.returncode, done.stdout) == (0, "[(True, 'k is 0.')]\n"), done.stderr


def test_importing_lookalike_loads_nothing_and_says_what_it_has() -> None:
    text = """
import sys, lookalike
assert not {"numpy", "celery", "redis", "shared", "lookalike.shared"} & set(sys.modules)
assert set(lookalike.__all__) <= set(dir(lookalike))
for name in lookalike.__all__:
    assert getattr(lookalike, name) is not None
try:
    lookalike.nothing
except AttributeError as error:
    print(error)
"""
    done = run([sys.executable, "-c", text], Path.cwd())
    assert (done.returncode, done.stdout) == (0, "module 'lookalike' has no attribute 'nothing'\n"), done.stderr


def test_a_process_that_knows_our_packages_by_their_names_has_each_class_once() -> None:
    assert lookalike.LookalikeError is errors.LookalikeError
