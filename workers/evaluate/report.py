"""Measure the promoted build of a job: `python -m workers.evaluate.report JOB`, JSON lines on stdout."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared.errors import JobError
from shared.job.bundle.facts import refuse_bundle
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.local.job_files import JobFiles
from shared.job.manifest import Manifest
from shared.job.opened import open_job
from shared.job.partition import ledger
from shared.job.partition.ledger import Seal
from shared.processes import memory
from shared.processes.stage import exit_status, say
from workers.evaluate import recall
from workers.evaluate.copies_report import of_copies
from workers.evaluate.recall import Yardstick
from workers.search.candidates.width import Width, width_of
from workers.search.searcher import Searcher
from workers.vectors.embeddings import Floats

Report = Callable[[str, float], None]
"""Called with the phase and how much of it is done, 0 to 1."""

SEED: Final = 1
"""Draws the queries: others than those that tuned the build."""

BATCH: Final = 64

_SWEEP_QUERIES = 300
_WARM_UP = 50
_BATCHES = 24
_WIDER = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4)
_DEEPER = (1 / 4, 1, 4)
# Measured on two million: the lists within a margin become as many more as the margin to the power of 1 / this.
_MARGIN_GROWTH = 0.42
_FLAT_DEPTHS = (10, 20, 50, 100, 200, 400, 800, 1_600)


def evaluate(job: JobDir, queries: int, report: Report) -> dict[str, Any]:
    """Measure the promoted build of a job; nothing in the job is written. Returns what docs/formats.md lists.

    `queries` stored embeddings are asked for, drawn by another seed than those that the build was tuned with. Raises
    NoIndexYet when there is no promoted build, JobError when all of its images were removed, and what `Searcher.open`
    raises.
    """
    job = open_job(job)
    refuse_bundle(job.path, job.manifest.bundle, "evaluated")
    seals = list(ledger.sealed(job))
    builds.require_promoted(job)
    build = builds.current_build(job)
    assert build is not None
    report("opening the index", 0.0)
    started = time.monotonic()
    searcher = Searcher.open(JobFiles.of(job), build)
    opened = time.monotonic() - started
    info = builds.read_info(job, build)
    if not searcher.ntotal:
        raise JobError(f"All images of {job.path} that the build {build} holds were removed: nothing can be measured.")
    for row in recall.drawn(searcher.kept, _WARM_UP, SEED + 1):
        searcher.search(searcher.kept.rows(np.array([row]))[0], 10)
    held = memory.own_bytes()
    report("exact answers, to compare with", 0.0)
    yardstick = recall.yardstick(searcher.kept, k=10, queries=queries, seed=SEED)
    report("recall and latency", 0.0)
    measured = recall.measure_against(searcher, yardstick)
    report("queries in batches", 0.0)
    batch = min(BATCH, len(yardstick.ids))
    per_second = _throughput(searcher, yardstick.vectors, batch)
    report("altered copies", 0.0)
    found = of_copies(job, searcher, info, lambda: report("verdicts on altered copies", 0.0))
    sweep = _sweep(searcher, info, yardstick, report)
    return {
        "job": str(job.path),
        "images": {
            "listed": job.listed,
            "embedded": sum(seal.embedded for seal in seals),
            "failed": sum(seal.failed for seal in seals),
            "removed": len(job.state.removed),
        },
        "model": job.manifest.model.fingerprint,
        "dim": info.dim,
        "machine": {"cores": _cores(), "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")},
        "embedding": _embedding(job.manifest, seals),
        "build": {
            "name": info.build,
            "type": info.type,
            "factory": info.factory,
            "nprobe": info.nprobe,
            "rerank_depth": info.rerank_depth,
            "list_margin": info.list_margin,
            "depth_ratio": info.depth_ratio,
            "seconds": dict(info.seconds),
            "peak_rss_bytes": info.peak_rss_bytes or None,
            "index_bytes": info.bytes,
            "recall_wished": None if info.wish is None else info.wish.get("recall"),
        },
        "opening_seconds": round(opened, 3),
        "query_memory_bytes": held,
        "recall_at_10": measured.recall,
        "queries": measured.queries,
        "p50_ms": measured.p50_ms,
        "p99_ms": measured.p99_ms,
        "batch": batch,
        "queries_per_second": round(per_second, 1),
        **found,
        "sweep": sweep,
    }


def _embedding(manifest: Manifest, seals: Sequence[Seal]) -> dict[str, Any] | None:
    """Seconds of one worker and bytes of all embeddings; seconds None where they were imported."""
    seconds = sum(seal.seconds for seal in seals)
    written = sum(entry["bytes"] for seal in seals for name, entry in seal.files.items() if name.startswith("img_emb"))
    return {"seconds": None if manifest.model.is_imported else round(seconds, 1), "bytes": written}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _throughput(searcher: Searcher, vectors: Floats, size: int) -> float:
    """Queries a second in batches of `size`, the median of some batches; their rows have been read before."""
    whole = max(1, len(vectors) // size)
    times = []
    for number in range(_BATCHES):
        start = number % whole * size
        started = time.perf_counter()
        searcher.search_many(vectors[start : start + size], 10)
        times.append(time.perf_counter() - started)
    return size / float(np.median(times[1:]))


def widths(info: IndexInfo) -> list[Width]:
    """What the sweep measures: nprobe and depth around those of a build, its own among them."""
    promoted = _promoted(info)
    if not info.nprobe:
        depths = {min(depth, info.ntotal) for depth in _FLAT_DEPTHS} | {promoted.depth}
        return [Width(0, depth) for depth in sorted(depths)]
    most = info.nlist or sys.maxsize
    # Of what is narrower than one list, or wider than all of them, the nearest to the promoted one is enough.
    lists = {
        min(most, max(1, round(info.nprobe * factor))): info.list_margin * factor**_MARGIN_GROWTH
        for factor in sorted(_WIDER, key=lambda factor: -abs(np.log(factor)))
    }
    depths = {min(info.ntotal, max(10, round(info.rerank_depth * factor))) for factor in _DEEPER}
    return [
        Width(nprobe, depth, lists[nprobe], info.depth_ratio) for depth in sorted(depths) for nprobe in sorted(lists)
    ]


def _promoted(info: IndexInfo) -> Width:
    return replace(width_of(info), depth=min(info.rerank_depth, info.ntotal))


def _sweep(searcher: Searcher, info: IndexInfo, yardstick: Yardstick, report: Report) -> list[dict[str, Any]]:
    few = yardstick.first(_SWEEP_QUERIES)
    points = []
    chosen = widths(info)
    for number, width in enumerate(chosen):
        report("other widths of the search", number / len(chosen))
        measured = recall.measure_against(searcher.widened(width), few)
        points.append(
            {
                "nprobe": width.nprobe,
                "depth": width.depth,
                "recall_at_10": measured.recall,
                "p50_ms": round(measured.p50_ms, 4),
                "p99_ms": round(measured.p99_ms, 4),
                "queries": measured.queries,
                "promoted": width == _promoted(info),
            }
        )
    return points


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate the job that is named; each line of stdout is an object with a phase, the result, or an error."""
    parser = argparse.ArgumentParser(prog="python -m workers.evaluate.report")
    parser.add_argument("job", type=Path)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(arguments)

    def run() -> None:
        result = evaluate(
            JobDir.at(options.job), options.queries, lambda phase, share: say(phase=phase, share=round(share, 3))
        )
        say(result=result)
        if options.plot is not None:
            from workers.evaluate.plot import draw_sweep  # Matplotlib is for who wants a plot.

            draw_sweep(result, options.plot)

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
