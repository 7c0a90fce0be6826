"""Search one job for duplicates in a process of its own, part by part, and compare what it finds with the truth.

python -m benchmarks.truth.duplicates.once JOB; prints JSON
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.support.features import BLOCK
from coordinator.jobs.runs.duplicates.candidates import candidates_of
from coordinator.jobs.runs.duplicates.facts import read_facts
from coordinator.jobs.runs.duplicates.grouping import add_similar
from coordinator.jobs.runs.duplicates.members import Members
from coordinator.jobs.runs.duplicates.run import SIMILARITY
from shared.job.directory import JobDir
from shared.job.index.duplicates.neighbours import NEIGHBOURS, Neighbours, read_neighbours
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.processes.control import Control
from shared.processes.memory import Peak
from shared.vectors import unit
from workers.evaluate.duplicates.neighbours import DEPTH, LISTS, NeighbourSearch, find_neighbours
from workers.vectors.embeddings import StoredEmbeddings
from workers.vectors.exact import exact_search

COSINES: Final = (0.99, 0.97, 0.95, 0.9)
"""How near the planted copies are to their originals."""
PLANTED: Final = 1_000
"""Planted copies at each of these."""
SAMPLE: Final = 1_000
"""Images, drawn by a fixed seed, of which all neighbours are looked up by comparing all."""
FLOORS: Final = (0.99, 0.97, 0.95, 0.9)


def main() -> None:
    print(json.dumps(measured(open_job(JobDir.at(Path(sys.argv[1]))))))


def measured(job: OpenJob) -> dict[str, Any]:
    """Seconds of each part, the most memory, the pairs, and the share that was found of those that are there."""
    seconds: dict[str, float] = {}
    alone: Control[float] = Control(lambda: True, lambda: True, lambda share: None)
    with Peak() as peak:
        with _timed(seconds, "open"):
            search = NeighbourSearch.open(job, JobFiles.of(job))
        with _timed(seconds, "neighbours"):
            paths = [find_neighbours(job, search, one.number, alone) for one in job.partitions]
        stored = search.stored
        with _timed(seconds, "group"):
            found = [read_neighbours(path) for path in paths]
            facts = read_facts(job, ledger.sealed(job))
            sharpness, grey = np.zeros(len(facts.ids), np.float32), np.zeros(len(facts.ids), np.bool_)
            ranks = facts.ranks(sharpness, grey)
            near = candidates_of(facts, found, ranks, SIMILARITY)
            nodes = add_similar([], near.lower, near.upper, near.similarities, ranks)
            groups = Members(job, facts, sharpness, grey, {}, near, ()).groups(nodes)
    keys = _keys(found, len(stored))
    return {
        "neighbours": NEIGHBOURS,
        "lists": LISTS,
        "depth": DEPTH,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "rows_per_second": round(len(stored) / seconds["neighbours"]),
        "peak_rss_bytes": peak.bytes(),
        "file_bytes": sum(path.stat().st_size for path in paths),
        "pairs": len(keys),
        "similar_pairs": len(near.lower),
        "groups": len(groups),
        "planted_found": {f"{cosine:g}": _planted(keys, len(stored), place) for place, cosine in enumerate(COSINES)},
        "exact": [_of_exact(stored, keys, floor) for floor in FLOORS],
    }


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - began


def _keys(found: Sequence[Neighbours], count: int) -> np.ndarray:
    """A number for each pair that was found, ascending, whichever of the two found the other."""
    sources, targets = (np.concatenate([getattr(one, name) for one in found]) for name in ("sources", "targets"))
    return np.unique(np.minimum(sources, targets) * count + np.maximum(sources, targets))


def _planted(keys: np.ndarray, count: int, place: int) -> float:
    """The share of the planted copies at one cosine that are a pair with their original."""
    copies = count - PLANTED * (len(COSINES) - place) + np.arange(PLANTED)
    originals = place * BLOCK + np.arange(PLANTED)
    return round(float(np.isin(originals * count + copies, keys).mean()), 4)


def _of_exact(stored: StoredEmbeddings, keys: np.ndarray, floor: float) -> dict[str, float]:
    """Of some images, the pairs with their nearest at least so similar, and the share of these that was found."""
    count = len(stored)
    rows = np.sort(np.random.default_rng(0).choice(count, size=min(SAMPLE, count), replace=False))
    exact = exact_search(stored, unit(stored.rows(rows)), NEIGHBOURS + 1)
    pairs = set[int]()
    for row, ids, similarities in zip(rows.tolist(), exact.ids, exact.similarities, strict=True):
        others = ids[(similarities >= floor) & (ids != row)][:NEIGHBOURS].tolist()
        pairs |= {min(row, other) * count + max(row, other) for other in others}
    found = int(np.isin(np.array(sorted(pairs), np.int64), keys).sum())
    return {"from": floor, "images": len(rows), "pairs": len(pairs), "found": round(found / max(1, len(pairs)), 4)}


if __name__ == "__main__":
    main()
