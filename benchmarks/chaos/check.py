"""Check the promises on a finished job: every byte as undisturbed, every image id once, the index whole."""

import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.support.processes import LOOKALIKE, environment
from shared.errors import LookalikeError
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.storage import files
from workers.vectors.ann import faiss_index
from workers.vectors.image_list import Images

Sums = Mapping[str, str]
_SEALED_FOLDERS = ("img_emb", "metadata", "errors")


def checksums(job: JobDir) -> dict[str, str]:
    """SHA-256 of every file of embeddings, metadata and errors of a job, and of its promoted index, by name."""
    found = {
        str(path.relative_to(job.path)): files.sha256_of(path)
        for folder in _SEALED_FOLDERS
        for path in sorted((job.path / folder).glob("*"))
    }
    info = builds.current_info(job)
    if info is not None:
        found |= {f"index/*/{name}": files.sha256_of(job.build_dir(info.build) / name) for name in info.files}
    return found


def broken_promises(job: JobDir, reference: Sums) -> list[str]:
    """What does not hold of a finished job, a sentence each; `reference` are the checksums of an undisturbed run."""
    said: list[str] = []
    try:
        job = open_job(job)
        said += _differences(checksums(job), reference)
        ids, failed = _embedded_ids(job)
        if len(ids) + failed != job.listed:
            said.append(f"{len(ids)} images are embedded and {failed} failed, and {job.listed} are listed.")
        said += _index_promises(job, ids)
    except (LookalikeError, OSError) as error:
        said.append(str(error))
    return said + _left_behind(job)


def _differences(found: Sums, reference: Sums) -> list[str]:
    said = [f"{name} is missing." for name in reference if name not in found]
    said += [f"{name} is there, and the undisturbed run has no such file." for name in found if name not in reference]
    both = (name for name in reference if name in found)
    return said + [f"{name} has other bytes than undisturbed." for name in both if found[name] != reference[name]]


def _embedded_ids(job: OpenJob) -> tuple["np.ndarray[Any, Any]", int]:
    seals = list(ledger.sealed(job))
    ids = [ledger.check_ids(job, seal) for seal in seals]
    return np.concatenate([np.empty(0, np.int64), *ids]), sum(seal.failed for seal in seals)


def image_of(job: JobDir, pick: float) -> tuple[int, str]:
    """Id and listed path of an embedded image of a finished job, drawn by `pick`, 0 to 1."""
    job = open_job(job)
    ids, _ = _embedded_ids(job)
    image_id = int(ids[int(pick * len(ids))])
    partition = job.partition_of(image_id)
    return image_id, path_list.read_paths(job, partition)[image_id - partition.start]


def _index_promises(job: JobDir, ids: "np.ndarray[Any, Any]") -> list[str]:
    info = builds.current_info(job)
    if info is None:
        return ["CURRENT names no build."]
    builds.check_files(job, info, checksums=True)
    directory = job.build_dir(info.build)
    parts = [
        ids_of(faiss_index.load(directory / name, ntotal=len(rows), dim=info.dim))
        for name, rows in zip(info.index_files, info.ranges, strict=True)
    ]
    said = missing_or_double(Images.open(directory / builds.IMAGES_FILE).ids, ids, "The list of images")
    return said + missing_or_double(np.concatenate(parts), ids, "The index")


def ids_of(loaded: Any) -> "np.ndarray[Any, Any]":
    """The image ids in a FAISS index, int64, in no order: of its lists, or of its map of ids."""
    try:
        lists = faiss.extract_index_ivf(loaded).invlists
    except RuntimeError:
        mapped = faiss.downcast_index(loaded)
        assert isinstance(mapped, faiss.IndexIDMap)  # What has no lists is searched as a whole.
        return np.asarray(faiss.vector_to_array(mapped.id_map))
    assert lists is not None
    found = [np.empty(0, np.int64)]
    for number in range(lists.nlist):
        size = lists.list_size(number)
        if size:
            found.append(np.array(faiss.rev_swig_ptr(lists.get_ids(number), size), dtype=np.int64))
    return np.concatenate(found)


def missing_or_double(found: "np.ndarray[Any, Any]", embedded: "np.ndarray[Any, Any]", what: str) -> list[str]:
    """What is wrong with the image ids of an index, where each embedded one has to be in it once."""
    unique, times = np.unique(found, return_counts=True)
    wrong = {
        "lacks": np.setdiff1d(embedded, unique),
        "holds more than once": unique[times > 1],
        "holds though they are not embedded": np.setdiff1d(unique, embedded),
    }
    return [f"{what} {verb} the image ids {some[:5].tolist()}." for verb, some in wrong.items() if len(some)]


def _left_behind(job: JobDir) -> list[str]:
    """Chunks, and files that were being written, that a finished job has no use for."""
    chunks = [path for path in (job.path / "chunks").rglob("*") if path.is_file()]
    asides = [path for path in job.path.rglob(f"*{files.TEMPORARY_SUFFIX}") if path not in chunks]
    return [f"{path.relative_to(job.path)} is left behind." for path in sorted([*chunks, *asides])]


def tracebacks(logs: Mapping[Path, int]) -> list[str]:
    """Where logs hold a traceback, each read from its place on; with the lines before and after it."""
    said = []
    for log, start in logs.items():
        with open(log, "rb") as file:
            file.seek(start)
            text = file.read().decode(errors="replace")
        before, found, after = text.partition("Traceback")
        if found:
            count = text.count("Traceback (most")
            said.append(f"{log.name} holds {count} tracebacks: {before[-200:] + found + after[:1500]!r}")
    return said


@cache
def _has_verify() -> bool:
    return subprocess.run([LOOKALIKE, "verify", "--help"], capture_output=True, check=False).returncode == 0


def verified(job: JobDir, env: Mapping[str, str] | None = None) -> list[str]:
    """What `lookalike verify JOB` finds; nothing where this version has no such command."""
    if not _has_verify():
        return []
    command: Iterable[str] = [LOOKALIKE, "verify", str(job.path)]
    done = subprocess.run(
        list(command), capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env or environment(), check=False
    )
    if done.returncode == 0:
        return []
    return [f"lookalike verify ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}"]
