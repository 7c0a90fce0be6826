"""Locks on files between processes: taken, refused, and those whose file was removed."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from shared.storage.lock import is_at, lock, open_locked


def test_a_lock_keeps_others_out_for_as_long_as_its_file_is_open(tmp_path: Path) -> None:
    path = tmp_path / "made" / "lock"
    first = open_locked(path)
    assert first is not None
    assert first[1]
    copy = os.dup(first[0])
    os.close(first[0])
    assert open_locked(path) is None  # Open once more, as in a child process.
    os.close(copy)
    second = open_locked(path)
    assert second is not None
    os.close(second[0])


def test_a_holder_may_remove_the_file_and_the_next_has_one_that_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock, asked = tmp_path / "lock", fcntl.flock, []

    def removed_before(handle: int, operation: int) -> None:
        flock(handle, operation)
        if not asked:
            path.unlink()
        asked.append(operation)

    monkeypatch.setattr(fcntl, "flock", removed_before)
    locked = open_locked(path)
    assert locked is not None
    assert len(asked) == 2
    assert is_at(locked[0], path)
    path.unlink()
    assert not is_at(locked[0], path)
    os.close(locked[0])


def test_a_file_system_without_locks_is_told_from_one_whose_lock_another_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with open(tmp_path / "lock", "w") as one, open(tmp_path / "lock", "w") as other:
        assert lock(one) is True
        assert lock(other, wait=False) is False
        monkeypatch.setattr(fcntl, "flock", refuse)
        assert lock(other, wait=False) is None
    locked = open_locked(tmp_path / "lock")
    assert locked is not None
    assert not locked[1]
    os.close(locked[0])
