import errno
import hashlib
import os
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from shared.storage import files
from shared.storage.stores import any_path


class Crash(BaseException):
    """What a kill looks like from inside: no handler for mere errors catches it."""


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_what_is_written_aside_appears_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.bin"
    with files.written_aside(path) as aside:
        aside.write_bytes(b"half")
        assert not path.exists()
        assert aside.parent == path.parent
        aside.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    assert names(path.parent) == ["file.bin"]


def test_a_file_that_was_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    files.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_with_keep_first_the_first_writer_wins(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_bytes(path, b"first", keep_first=True)
    files.write_bytes(path, b"second", keep_first=True)
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


def test_of_two_writers_at_once_one_file_remains_whole(tmp_path: Path) -> None:
    path, both_written = tmp_path / "file", threading.Barrier(2, timeout=60)

    def write(data: bytes) -> None:
        with files.written_aside(path, keep_first=True) as aside:
            aside.write_bytes(data)
            both_written.wait()

    contents = [b"a" * 100_000, b"b" * 100_000]
    threads = [threading.Thread(target=write, args=[data]) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EXDEV])
def test_without_hard_links_the_first_writer_still_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "file"
    files.write_bytes(path, b"first", keep_first=True)
    files.write_bytes(path, b"second", keep_first=True)
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


def test_when_the_block_raises_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail_half_way() -> None:
        with files.written_aside(path) as aside:
            aside.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("keep_first", [False, True])
@pytest.mark.parametrize("failing", ["fsync", "replace", "link", "open"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), Crash()])
def test_whatever_call_fails_the_file_is_the_old_one_or_the_whole_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, error: BaseException, keep_first: bool
) -> None:
    path = tmp_path / "file"

    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        try:
            files.write_bytes(path, b"whole", keep_first=keep_first)
        except (OSError, Crash):
            assert not path.exists() or path.read_bytes() == b"whole"
        else:
            assert path.read_bytes() == b"whole"
    assert names(tmp_path) in ([], ["file"])
    files.write_bytes(path, b"whole", keep_first=keep_first)
    assert path.read_bytes() == b"whole"


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def watch(name: str) -> None:
        real = getattr(os, name)

        def called(*args: Any) -> Any:
            calls.append(name)
            return real(*args)

        monkeypatch.setattr(os, name, called)

    for name in ("fsync", "replace", "link"):
        watch(name)
    files.write_bytes(tmp_path / "a", b"1")
    assert calls == ["fsync", "replace", "fsync"]
    calls.clear()
    files.write_bytes(tmp_path / "b", b"1", keep_first=True)
    assert calls == ["fsync", "link", "fsync"]


def test_a_directory_that_can_not_be_synced_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.sync_directory(tmp_path / "not there")

    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "a FUSE mount")

    monkeypatch.setattr(os, "fsync", refuse)
    files.sync_directory(tmp_path)


def test_leftovers_of_killed_writers_go_and_nothing_else(tmp_path: Path) -> None:
    path, other = tmp_path / "[1] file.npy", tmp_path / "other.npy"
    for written in (path, other):
        with files.written_aside(written) as aside:
            aside.write_bytes(b"whole")
            (tmp_path / aside.name.replace(".tmp", "0.tmp")).write_bytes(b"half")
    assert len(names(tmp_path)) == 4
    files.remove_leftovers(path)
    left = names(tmp_path)
    assert left[1:] == ["[1] file.npy", "other.npy"]
    assert left[0].startswith(".other.npy.")


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, (1 << 20) + 1])
def test_the_checksum_is_that_of_the_whole_file(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    assert files.sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("half", "whole"),
    [(b"", b"0001-4b12cd34\n"), (b"0001-4b", b"0001-4b12cd34\n"), (b'{\n  "a": 1,\n', b'{\n  "a": 1,\n  "b": 2\n}\n')],
    ids=["nothing", "half a line", "half an object"],
)
def test_a_marker_whose_bytes_come_after_its_name_is_waited_for(tmp_path: Path, half: bytes, whole: bytes) -> None:
    path = tmp_path / "marker"
    path.write_bytes(half)
    looked = threading.Event()

    def fill() -> None:
        assert looked.wait(60)
        path.write_bytes(whole)

    read_bytes = Path.read_bytes

    def noted(self: Path) -> bytes:
        data = read_bytes(self)
        looked.set()
        return data

    filler = threading.Thread(target=fill)
    filler.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", noted)
        patch.setattr(files, "HALF_SECONDS", 60.0)
        assert files.read_marker(path) == whole
    filler.join()


@pytest.mark.parametrize("content", [b"", b"0001-4b"], ids=["nothing", "half"])
def test_a_marker_that_stays_as_it_is_is_read_so_and_one_that_is_gone_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(files, "HALF_SECONDS", 0.05)
    (tmp_path / "marker").write_bytes(content)
    assert files.read_marker(tmp_path / "marker") == content
    with pytest.raises(FileNotFoundError):
        files.read_marker(tmp_path / "gone")


@pytest.mark.parametrize("place", ["disk", "store"])
def test_every_file_below_a_directory_is_found_and_none_below_one_that_is_gone(tmp_path: Path, place: str) -> None:
    root = tmp_path if place == "disk" else any_path(f"memory://{uuid.uuid4().hex}/photos")
    for name in ("a", "deep/b", "deep/er/c"):
        files.write_bytes(root / name, b"1")
    assert sorted(path.relative_to(root).as_posix() for path in files.files_below(root)) == ["a", "deep/b", "deep/er/c"]
    assert list(files.files_below(root / "not there")) == []


def test_a_directory_that_can_not_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OSError, match="Input/output"):
        list(files.files_below(tmp_path))
