import os
from pathlib import Path

import pytest

from coordinator.doctor.machine import read_cpu, read_disk, read_memory

X86 = (
    "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu avx2 avx512f amx_tile amx_bf16\n\n"
    "processor\t: 1\nflags\t\t: fpu\n"
)
MEMINFO = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    9000 kB\nHugePages_Total:       0\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight cores, all allowed, without cgroups."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    write(tmp_path, "proc/cpuinfo", X86)
    write(tmp_path, "proc/meminfo", MEMINFO)
    return tmp_path


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_without_limits_everything_is_usable(root: Path) -> None:
    cpu, memory = read_cpu(root), read_memory(root)
    assert (cpu.name, cpu.features) == ("Xeon", {"avx2", "avx512", "amx", "bf16"})
    assert (cpu.cores, cpu.allowed, cpu.quota, cpu.usable) == (8, 8, None, 8)
    assert (memory.total, memory.available, memory.limit) == (16_000 * 1024, 9_000 * 1024, None)
    assert memory.most == 16_000 * 1024


def test_arm_tells_its_features_under_another_name(root: Path) -> None:
    write(root, "proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd i8mm bf16\n")
    assert read_cpu(root).features == {"neon", "bf16"}


def test_a_system_without_proc_tells_no_features(tmp_path: Path) -> None:
    cpu = read_cpu(tmp_path)
    assert cpu.features is None
    assert cpu.quota is None
    assert read_memory(tmp_path).limit is None


def test_affinity_bounds_the_cores(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5, 6}, raising=False)
    assert (read_cpu(root).cores, read_cpu(root).usable) == (8, 3)


def test_the_least_limit_of_a_cgroup_and_those_above_it_holds(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/pods/mine\n")
    write(root, "sys/fs/cgroup/pods/mine/cpu.max", "max 100000\n")
    write(root, "sys/fs/cgroup/pods/cpu.max", "150000 100000\n")
    write(root, "sys/fs/cgroup/pods/mine/memory.max", "4096000\n")
    write(root, "sys/fs/cgroup/pods/mine/memory.current", "4000000\n")
    write(root, "sys/fs/cgroup/pods/mine/memory.stat", "anon 1\ninactive_file 2000000\n")
    write(root, "sys/fs/cgroup/pods/memory.max", "max\n")
    assert read_cpu(root).usable == 1.5
    memory = read_memory(root)
    assert (memory.limit, memory.most) == (4_096_000, 4_096_000)
    assert memory.available == 96_000 + 2_000_000, "files in memory are given up for whoever needs it"


def test_in_a_container_the_limits_of_the_top_hold(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/docker/0123456789\n")  # The host's path, of which nothing is mounted.
    write(root, "sys/fs/cgroup/cpu.max", "200000 100000\n")
    write(root, "sys/fs/cgroup/memory.max", "1000000\n")
    assert read_cpu(root).usable == 2
    assert read_memory(root).limit == 1_000_000


def test_version_1_has_other_names_and_a_largest_number_for_no_limit(root: Path) -> None:
    write(root, "proc/self/cgroup", "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n")
    write(root, "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n")
    write(root, "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n")
    write(root, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n")
    assert read_cpu(root).quota is None
    assert read_memory(root).limit is None
    write(root, "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "50000\n")
    write(root, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "2000000\n")
    write(root, "sys/fs/cgroup/memory/job/memory.usage_in_bytes", "500000\n")
    assert read_cpu(root).usable == 0.5
    assert (read_memory(root).limit, read_memory(root).available) == (2_000_000, 1_500_000)


def test_this_machine_is_read(tmp_path: Path) -> None:
    cpu, memory = read_cpu(), read_memory()
    assert 0 < cpu.usable <= cpu.cores
    assert memory.most is None or memory.most > 10**8


def test_a_disk_is_that_of_the_nearest_directory_that_is_there(tmp_path: Path) -> None:
    found = read_disk(tmp_path / "jobs" / "to-be-made")
    assert found.at == tmp_path
    assert 0 < found.free <= found.total
    assert found.writable
