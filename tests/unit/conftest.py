"""What several files of unit tests share: commands run in the process of the test, and what is fetched of a store."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator import cli
from shared.storage import files
from shared.storage.stores import StorePath
from tests.support.cli import Ran, Run
from workers.merge import build


@pytest.fixture(autouse=True, scope="session")
def without_disks() -> Iterator[None]:
    """Nothing waits until a disk holds what is written: the power is not cut here. A descriptor must be an open one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(autouse=True, scope="session")
def few_queries() -> Iterator[None]:
    """A merge measures its index by thirty queries, not five hundred: most of what a merge here takes is that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "QUERIES", 30)
        yield


@pytest.fixture
def all_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many queries as a merge has elsewhere, for a test of how much its width finds of other queries."""
    monkeypatch.setattr(build, "QUERIES", 500)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is only half there stays so: no one waits a second for the rest of it."""
    monkeypatch.setattr(files, "HALF_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take a while to ask who is at work."""
    monkeypatch.setattr("coordinator.jobs.activity.ASK_SECONDS", 60.0)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs `lookalike ARGUMENTS` in this process, as the console script does, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # Where no embedded broker runs.

    def ran(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["lookalike", *map(str, arguments)])
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Ran(status, out, err)

    return ran


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The objects whose bytes were asked for since the test began, by name."""
    names: list[str] = []
    blocks = StorePath.blocks

    def counted(path: StorePath) -> Any:
        names.append(path.name)
        return blocks(path)

    monkeypatch.setattr(StorePath, "blocks", counted)
    return names
