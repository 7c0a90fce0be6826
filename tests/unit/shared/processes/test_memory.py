"""Memory of a process: its own, at its most, without the pages of mapped files."""

import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from shared.processes import memory

MEGABYTE = 1 << 20


HOLDER = """
import time
import numpy as np
from shared.processes import memory
before = memory.own_bytes()
with memory.Peak() as peak:
    held = np.ones(100 << 20, np.uint8)
    deadline = time.monotonic() + 60
    while peak._most < before + (90 << 20) and time.monotonic() < deadline:
        time.sleep(0.01)
    del held
print(peak.bytes() - before)
"""


@pytest.mark.skipif(memory.own_bytes() is None, reason="the system does not tell a process's own memory")
def test_the_peak_remembers_what_was_held_and_let_go() -> None:
    # In a process of its own: here, what other tests left may be freed meanwhile.
    done = subprocess.run([sys.executable, "-c", HOLDER], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert 90 * MEGABYTE < int(done.stdout) < 200 * MEGABYTE


@pytest.mark.skipif(memory.own_bytes() is None, reason="the system does not tell a process's own memory")
def test_mapped_pages_are_not_counted(tmp_path: Path) -> None:
    file = tmp_path / "pages"
    file.write_bytes(bytes(64 * MEGABYTE))
    with open(file, "rb") as opened, memory.Peak() as peak:
        before = peak.bytes()
        with mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert not any(mapped[:: mmap.PAGESIZE])
        assert peak.bytes() < before + 16 * MEGABYTE


def resident() -> int:
    """Bytes that this process has in memory at all, pages of mapped files among them."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(memory.own_bytes() is None, reason="the system does not tell a process's own memory")
def test_the_pages_of_a_mapped_file_are_given_back_and_read_again(tmp_path: Path) -> None:
    file, other = tmp_path / "a file of values", tmp_path / "another"
    for path in (file, other):
        path.write_bytes(bytes(range(256)) * (64 * MEGABYTE // 256))
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == 0
        before = resident()
        assert memory.give_back(other) == 0
        assert memory.give_back(file) == 64 * MEGABYTE
        assert resident() < before - 60 * MEGABYTE
        assert mapped[-256:] == bytes(range(256))


@pytest.mark.skipif(memory.own_bytes() is None, reason="the system does not tell a process's own memory")
def test_a_mapping_that_was_written_to_is_not_given_back(tmp_path: Path) -> None:
    file = tmp_path / "pages"
    file.write_bytes(bytes(mmap.PAGESIZE))
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        mapped[0] = 7
        assert memory.give_back(file) == 0
        assert mapped[0] == 7


def test_where_the_system_does_not_tell_it_is_the_largest_resident_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert memory.own_bytes() is None
    with memory.Peak() as peak:
        assert peak.bytes() > 10 * MEGABYTE
