import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.doctor import check_machine
from coordinator.doctor.check_machine import (
    cache_disk,
    cores,
    installed_packages,
    job_disk,
    load,
    memory,
    names,
    processor,
    software,
)
from coordinator.doctor.checks import Check
from coordinator.doctor.machine import Cpu, Disk, Memory
from coordinator.local import hidden

GB = 10**9
WANTED = [
    "celery<5.8,>=5.7", "numpy>=2.1", 'tensorflow-cpu<2.22,>=2.20; extra == "worker"', 'keras>=3.12; extra == "worker"',
    'faiss-cpu>=1.13; extra == "worker"', 'faiss-gpu>=1.14; extra == "gpu"', 'keras>=3.12; extra == "gpu"',
    'matplotlib>=3.10; extra == "plot"',
]  # fmt: skip
WORKER = {"lookalike": "0.1", "celery": "5.7.0", "numpy": "2.4", "tensorflow-cpu": "2.21", "keras": "3.15",
          "faiss-cpu": "1.15"}  # fmt: skip


def told(found: Check) -> tuple[str, str]:
    return str(found.verdict), found.sentence


def packages(installed: dict[str, str]) -> tuple[str, str]:
    first, found = software(installed, WANTED)
    assert (first.subject, found.subject, str(first.verdict)) == ("python", "packages", "ok")
    assert first.sentence.startswith("lookalike 0.1 on Python 3.")
    return told(found)


def test_packages_within_their_ranges_are_named() -> None:
    assert packages(WORKER) == ("ok", "celery 5.7.0, numpy 2.4, tensorflow-cpu 2.21, keras 3.15, faiss-cpu 1.15.")


def test_packages_that_something_else_has_changed_are_a_warning() -> None:
    verdict, sentence = packages(WORKER | {"numpy": "1.26", "celery": "5.8.1"})
    assert verdict == "warning"
    assert "celery<5.8,>=5.7 (5.8.1), numpy>=2.1 (1.26). pip install 'lookalike[worker]'." in sentence


def test_a_missing_package_is_a_warning() -> None:
    verdict, sentence = packages({name: version for name, version in WORKER.items() if name != "keras"})
    assert verdict == "warning"
    assert "keras>=3.12 (missing)" in sentence


def test_on_a_gpu_machine_its_own_packages_are_wanted() -> None:
    installed = {"lookalike": "0.1", "celery": "5.7.0", "numpy": "2.4", "keras": "3.15", "faiss-gpu": "1.14"}
    assert packages(installed) == ("ok", "celery 5.7.0, numpy 2.4, faiss-gpu 1.14, keras 3.15.")


def test_a_light_install_can_not_embed() -> None:
    verdict, sentence = packages({"lookalike": "0.1", "celery": "5.7.0", "numpy": "2.4"})
    assert verdict == "warning"
    assert "can coordinate and search, and can't embed: pip install 'lookalike[worker]'" in sentence


def test_what_is_installed_is_read() -> None:
    found = installed_packages(["numpy>=2.1", "no-such-distribution>=1"])
    assert set(found) == {"lookalike", "numpy"}


def cpu(*features: str, cores: int = 8, allowed: int = 8, quota: float | None = None, known: bool = True) -> Cpu:
    return Cpu("Xeon", frozenset(features) if known else None, cores, allowed, quota)


@pytest.mark.parametrize(
    ("machine", "verdict", "words"),
    [
        (cpu("avx2"), "ok", "Xeon: avx2. Without bf16 --precision bf16 gains nothing here."),
        (cpu("avx2", "bf16"), "ok", "--precision bf16 makes a new job's model about 1.7 times as fast here."),
        (cpu("neon"), "ok", "Xeon: neon."),
        (cpu(), "warning", "Without AVX2 a model runs at a fraction of the rate: take another machine."),
        (cpu(known=False), "ok", "this system does not tell"),
    ],
)
def test_the_processor(machine: Cpu, verdict: str, words: str) -> None:
    found = processor(machine)
    assert str(found.verdict) == verdict
    assert words in found.sentence


@pytest.mark.parametrize(
    ("machine", "threads", "verdict", "sentence"),
    [
        (cpu(), 8, "ok", "8, all of them for this process; an embed worker decodes in 8 threads."),
        (cpu(allowed=2), 2, "ok", "2 of 8 for this process, by its affinity; an embed worker decodes in 2 threads."),
        (cpu(quota=1.5), 2, "ok", "1.5 of 8 for this process, by its cgroup; an embed worker decodes in 2 threads."),
        (
            cpu(quota=2.0), 8, "warning",
            "2 of 8 for this process, by its cgroup; an embed worker decodes in 8 threads: set "
            "LOOKALIKE_DECODE_THREADS=2.",
        ),
        (
            cpu(quota=0.5), 8, "warning",
            "0.5 of 8 for this process, by its cgroup; an embed worker decodes in 8 threads: set "
            "LOOKALIKE_DECODE_THREADS=1.",
        ),
    ],
)  # fmt: skip
def test_cores_and_the_threads_that_would_share_them(machine: Cpu, threads: int, verdict: str, sentence: str) -> None:
    assert told(cores(machine, threads)) == (verdict, sentence)


def test_a_machine_that_others_keep_busy_is_a_warning() -> None:
    assert told(load(cpu(quota=2.0), 7.94)) == (
        "ok",
        "7.9 processes wanted a core in the last minute, and there are 8.",
    )
    assert told(load(cpu(), 9.21)) == (
        "warning",
        "9.2 processes wanted a core in the last minute, and there are 8: a sample shows less than this machine can. "
        "End the others, or ask again later.",
    )


@pytest.mark.parametrize(
    ("found", "needed", "verdict", "words"),
    [
        (Memory(16 * GB, 9 * GB, None), None, "ok", "16.0 GB, 9.0 GB of it free."),
        (Memory(16 * GB, 1 * GB, 2 * GB), GB, "ok", "2.0 GB by the limit of the cgroup, 1.0 GB of it free."),
        (
            Memory(16 * GB, GB // 2, None),
            None,
            "warning",
            "500.0 MB of it free; the workers take 1.0 GB: end something",
        ),
        (Memory(16 * GB, 1 * GB, 2 * GB), 3 * GB, "problem", "2.0 GB by the limit of the cgroup; the workers take 3.0"),
        (Memory(None, None, None), 3 * GB, "ok", "does not tell"),
    ],
)
def test_memory(found: Memory, needed: int | None, verdict: str, words: str) -> None:
    said = memory(found, needed)
    assert str(said.verdict) == verdict
    assert words in said.sentence


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_disk(free: int, writable: bool = True) -> None:
        monkeypatch.setattr(check_machine, "read_disk", lambda path: Disk(path, Path("/mnt"), free, 100 * GB, writable))

    return set_disk


JOB = Path("/mnt/job")


def test_the_disk_of_a_job(disk: Callable[..., None]) -> None:
    disk(5 * GB)
    assert told(job_disk(JOB, None)) == ("ok", "5.0 GB free of 100.0 GB at /mnt.")
    assert told(job_disk(JOB, 4 * GB)) == ("ok", "5.0 GB free of 100.0 GB at /mnt; the job takes 4.0 GB more.")
    assert told(job_disk(JOB, 8 * GB, 6 * GB)) == ("ok", "5.0 GB free of 100.0 GB at /mnt; the job takes 2.0 GB more.")
    assert told(job_disk(JOB, 8 * GB, GB)) == (
        "problem",
        "5.0 GB free of 100.0 GB at /mnt, and the job takes 7.0 GB more: make room, or name another JOB.",
    )
    disk(GB // 2)
    assert job_disk(JOB, None).verdict == "warning"
    disk(5 * GB, writable=False)
    assert told(job_disk(JOB, None)) == ("problem", "/mnt can't be written to: free it, or name another JOB.")


def test_the_disk_of_the_cache(disk: Callable[..., None]) -> None:
    disk(5 * GB)
    assert told(cache_disk(JOB)) == ("ok", "5.0 GB free at /mnt, for the models that OpenVINO runs.")
    disk(GB // 2)
    assert cache_disk(JOB).verdict == "warning"
    disk(5 * GB, writable=False)
    verdict, sentence = told(cache_disk(JOB))
    assert verdict == "warning"
    assert sentence.endswith("Set LOOKALIKE_CACHE_DIR to another directory.")


def test_a_disk_that_hangs_or_fails_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> Disk:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(check_machine, "read_disk", fail)
    assert told(job_disk(JOB, None)) == (
        "problem",
        "/mnt/job does not answer (Input/output error): mount it again, or name another JOB.",
    )
    hung = threading.Event()
    monkeypatch.setattr(check_machine, "DISK_SECONDS", 0.05)
    monkeypatch.setattr(check_machine, "read_disk", lambda path: hung.wait(60))
    assert "does not answer (no answer within 0.05 s)" in job_disk(JOB, None).sentence
    hung.set()


def test_what_has_the_name_of_a_package_of_ours_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(names([])) == ("ok", "Nothing else on the path is called as a package of lookalike's.")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "__init__.py").touch()
    (tmp_path / "workers.py").touch()
    (tmp_path / "coordinator").mkdir()  # Without __init__.py it is no package that could be taken for ours.
    monkeypatch.syspath_prepend(str(tmp_path))
    found = hidden.same_names()
    assert found == [tmp_path / "shared", tmp_path / "workers.py"]
    assert told(names(found))[1].startswith(f"{tmp_path / 'shared'}, {tmp_path / 'workers.py'}: called as a package")
