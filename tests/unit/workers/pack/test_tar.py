"""Tars of our own making: read by Python's tarfile, the same bytes for the same members, of the size foretold."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.pack.tar import TarFile

NAMES = ["a.jpg", "b/" + "long/" * 60 + "name.jpg", "é/" + "ü" * 90 + ".png", "x" * 100, "y" * 101, "new\nline.jpg"]


def written(path: Path, members: list[tuple[str, bytes]]) -> bytes:
    with TarFile(path) as tar:
        for name, data in members:
            tar.add(name, data)
    return path.read_bytes()


def test_members_come_out_as_they_went_in(tmp_path: Path) -> None:
    members = [(name, os.urandom(700 * number)) for number, name in enumerate(NAMES)]
    written(tmp_path / "a.tar", members)
    with tarfile.open(tmp_path / "a.tar") as tar:
        infos = tar.getmembers()
        assert [(info.name, tar.extractfile(info).read()) for info in infos] == members  # type: ignore[union-attr]
    assert {(info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) for info in infos} == {
        (0, 0, 0, "", "", 0o644)
    }
    assert all(info.isreg() for info in infos)


def test_the_same_members_make_the_same_bytes(tmp_path: Path) -> None:
    members = [(name, name.encode() * 300) for name in NAMES]
    assert written(tmp_path / "a.tar", members) == written(tmp_path / "b.tar", members)


def test_python_writes_the_same_tar(tmp_path: Path) -> None:
    members = [(name, name.encode() * 300) for name in NAMES]
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert written(tmp_path / "b.tar", members) == (tmp_path / "a.tar").read_bytes()


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 30_000)), max_size=6))
def test_the_size_is_known_before(tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, int]]) -> None:
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    foretold = tarfile.RECORDSIZE
    with TarFile(path) as tar:
        for name, size in members:
            foretold = tar.size_with(name, size)
            tar.add(name, bytes(size))
            assert tar.size == foretold
    assert path.stat().st_size == foretold


def test_a_tar_that_was_not_ended_has_no_end(tmp_path: Path) -> None:
    def fail() -> None:
        with TarFile(tmp_path / "a.tar") as tar:
            tar.add("a.jpg", b"a")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (tmp_path / "a.tar").stat().st_size == 1024
