"""What lies in the working directory or on PYTHONPATH under one of our names: it is not run, or it is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from coordinator.local import flower_command, worker_command
from shared.settings import without_settings
from workers.isolated import IsolatedReaders

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
        [*IsolatedReaders(8, 100, 100)._command],
        [sys.executable, "-P", "-m", "workers.shrinking", "--help"],
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


@pytest.mark.parametrize(
    ("name", "text"),
    [("shared/__init__.py", ""), ("workers/__init__.py", ""), ("shared/__init__.py", RAN), ("shared.py", ""),
     ("workers.py", RAN), ("celery.py", ""), ("redis/__init__.py", ""), ("kombu.py", RAN)],
)  # fmt: skip
@pytest.mark.parametrize("arguments", [["--version"], ["index", "x", "y"], ["worker", "embed"], ["flower"]])
def test_a_folder_of_pythonpath_that_hides_ours_is_named(
    tmp_path: Path, name: str, text: str, arguments: list[str]
) -> None:
    folder = tmp_path / "their folder"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text(text)
    done = run([LOOKALIKE, *arguments], tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{folder}")
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    hides = folder / name.removesuffix("/__init__.py")
    assert done.stderr.startswith(f"lookalike: {hides} hides ")
    assert f"take {folder} out of PYTHONPATH" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["shared", "workers"])
def test_a_program_beside_a_folder_that_hides_ours_is_told_which(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / "program.py").write_text("from coordinator.client import Client\n")
    done = run([sys.executable, "program.py"], tmp_path)
    assert done.returncode == 1
    assert f"ImportError: {tmp_path / name} hides lookalike's own package {name!r}" in done.stderr


def test_what_hides_nothing_on_pythonpath_is_no_reason_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()  # Without __init__.py it hides no package.
    (tmp_path / "sitecustomize.py").touch()
    (tmp_path / "celery").mkdir()
    (tmp_path / "typer.py").write_text("raise SystemExit('an installed library of another place')")
    (tmp_path / "typer-9.dist-info").mkdir()  # Installed there, as modules of a cluster are: theirs to choose.
    done = run([LOOKALIKE, "--version"], tmp_path, PYTHONPATH=str(tmp_path))
    assert "hides" not in done.stderr
    (tmp_path / "typer.py").unlink()
    done = run([LOOKALIKE, "--version"], tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
