"""Where the embedded broker is: a private directory whose socket has a path that the system takes."""

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from coordinator.local import broker
from coordinator.local.broker import runtime_directory
from shared.errors import BrokerUnreachable

NAME = f"lookalike-{os.getuid()}"


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short folder for XDG_RUNTIME_DIR, with what is measured allowing for the length of where tests are."""
    folder = tmp_path_factory.mktemp("r")
    longest = len(os.fsencode(folder / NAME / "0123456789ab" / "broker.sock"))
    monkeypatch.setattr(broker, "SOCKET_BYTES", longest)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


def temporary(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))


@pytest.mark.parametrize("folder", ["t" * 82, "\N{CAT FACE}" * 30, "deep/" * 20])
def test_where_the_socket_does_not_fit_a_shorter_private_place_is_shared(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    temporary(monkeypatch, tmp_path / folder)
    directory = runtime_directory(tmp_path / "jobs")
    assert directory.parent == short / NAME
    assert stat.S_IMODE(directory.parent.stat().st_mode) == stat.S_IMODE(directory.stat().st_mode) == 0o700
    # Every command finds the same one, also one that starts none; another root has another.
    assert runtime_directory(tmp_path / "jobs", make=False) == runtime_directory(tmp_path / "jobs") == directory
    assert runtime_directory(tmp_path / "others") != directory


def test_where_the_socket_fits_it_lies_in_the_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "SOCKET_BYTES", 1_000)
    temporary(monkeypatch, tmp_path)
    assert runtime_directory(tmp_path / "jobs").parent == tmp_path / NAME


def test_without_a_short_place_a_sentence_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "SOCKET_BYTES", 10)
    temporary(monkeypatch, tmp_path)
    with pytest.raises(BrokerUnreachable, match="set TMPDIR to a shorter directory, or give a running Redis"):
        runtime_directory(tmp_path / "jobs")


def test_the_system_takes_a_socket_of_the_longest_path_that_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "s" * broker.SOCKET_BYTES
    monkeypatch.chdir(tmp_path)  # The kernel counts the bytes that it is given.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
    assert (tmp_path / name).exists()
