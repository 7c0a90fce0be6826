"""Read processor, cores, memory and disks as this process may use them, with the limits of its cgroup."""

import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shared.images.paths import expanded

ROOT = Path("/")

# The kernel's names of the instructions that decide how fast a model runs: x86, then ARM.
_FEATURES = {
    "avx2": "avx2",
    "avx512f": "avx512",
    "amx_tile": "amx",
    "avx512_bf16": "bf16",
    "amx_bf16": "bf16",
    "asimd": "neon",
    "bf16": "bf16",
}
# A cgroup of version 1 without a limit says the largest number of whole pages; no machine has a fraction of it.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor: its name, `features` among avx2, avx512, amx, bf16 and neon (None if the system does not tell),
    `cores` of the machine, those that this process may run on, and how many its cgroup lets it use (None: all).
    """

    name: str
    features: frozenset[str] | None
    cores: int
    allowed: int
    quota: float | None

    @property
    def usable(self) -> float:
        """How many cores this process can keep busy."""
        return self.allowed if self.quota is None else min(self.allowed, self.quota)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of memory: of the machine, of it for a new process now, and of the limit of the cgroup.

    None stands for what the system does not tell, and for no limit.
    """

    total: int | None
    available: int | None
    limit: int | None

    @property
    def most(self) -> int | None:
        """The most memory that the processes here can have together."""
        known = [size for size in (self.total, self.limit) if size is not None]
        return min(known) if known else None


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk under `path`: `at` is the nearest directory that exists, `free` the bytes that this user may write."""

    path: Path
    at: Path
    free: int
    total: int
    writable: bool


def read_cpu(root: Path = ROOT) -> Cpu:
    """The processor under `root`, the directory that holds `proc` and `sys`."""
    name, features = platform.processor() or platform.machine(), None
    with suppress(OSError):
        lines = [line.partition(":") for line in (root / "proc/cpuinfo").read_text().splitlines()]
        found = {key.strip(): value.strip() for key, _, value in reversed(lines)}  # The first core's values win.
        name = found.get("model name", name)
        flags = found.get("flags", found.get("Features"))
        features = None if flags is None else frozenset(_FEATURES[flag] for flag in flags.split() if flag in _FEATURES)
    cores = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return Cpu(name, features, cores, allowed, _quota(root))


def read_memory(root: Path = ROOT) -> Memory:
    """The memory under `root`, as `read_cpu` takes it."""
    total = available = None
    with suppress(OSError, ValueError):
        table = dict(line.split(":") for line in (root / "proc/meminfo").read_text().splitlines() if ":" in line)
        sizes = {key: int(value.split()[0]) * 1024 for key, value in table.items()}
        total, available = sizes.get("MemTotal"), sizes.get("MemAvailable")
    if total is None and sys.platform == "darwin":  # Free memory says nothing: the system fills it with files.
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = None
    for directory in _cgroups(root, "memory"):
        most = _number(directory / "memory.max") or _number(directory / "memory.limit_in_bytes")
        if most is None or most >= _NO_LIMIT:
            continue
        limit = most if limit is None else min(limit, most)
        used = _number(directory / "memory.current") or _number(directory / "memory.usage_in_bytes")
        if used is not None:
            left = max(0, most - used + _reclaimable(directory))
            available = left if available is None else min(available, left)
    return Memory(total, available, limit)


def read_disk(path: Path) -> Disk:
    """The disk that `path` is on, or would be on; raises OSError when it does not answer."""
    at = expanded(path).absolute()
    while not at.exists() and at != at.parent:
        at = at.parent
    status = os.statvfs(at)
    writable = os.access(at, os.W_OK | os.X_OK)
    return Disk(path, at, status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize, writable)


def _quota(root: Path) -> float | None:
    """The cores that the cgroup of this process grants, and those above it."""
    least = None
    for directory in _cgroups(root, "cpu"):
        quota, period = _number(directory / "cpu.cfs_quota_us"), _number(directory / "cpu.cfs_period_us")
        with suppress(OSError, ValueError):
            quota, period = (int(number) for number in (directory / "cpu.max").read_text().split())
        if quota is not None and period is not None and quota > 0 and period > 0:
            least = quota / period if least is None else min(least, quota / period)
    return least


def _cgroups(root: Path, controller: str) -> list[Path]:
    """The directories of this process's cgroup and of those above it, version 2 and 1, that are there."""
    found = []
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            mount = root / "sys/fs/cgroup"
            if controller in controllers.split(","):
                mount /= controllers if (mount / controllers).is_dir() else controller
            elif controllers:
                continue
            place = mount / group.strip("/")
            # In a container the path is often that of the host, of which only the top exists here.
            found += [above for above in (place, *place.parents) if above == mount or mount in above.parents]
    return [directory for directory in found if directory.is_dir()]


def _reclaimable(directory: Path) -> int:
    """Bytes of files that the cgroup holds in memory and would give up."""
    with suppress(OSError, ValueError):
        table = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
        return int(table.get("total_inactive_file", table.get("inactive_file", 0)))
    return 0


def _number(path: Path) -> int | None:
    """The number in a file; None if there is none, as with "max"."""
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None
