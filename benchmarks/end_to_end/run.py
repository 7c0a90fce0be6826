"""One run from a folder of photographs to figures: embedding, index, search, resuming.

python -m benchmarks.end_to_end PHOTOS [--name TEXT] [--copies 200] [--out FILE] [--docs]
"""

import argparse
import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.end_to_end import tables
from benchmarks.end_to_end.resume import resume_check
from benchmarks.support import altered, program
from benchmarks.support.processes import LOOKALIKE, measured
from shared.errors import JobError
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.manifest import load_manifest
from shared.job.opened import open_job
from shared.job.partition import ledger

RESULTS = program.RESULTS / "end_to_end.json"
_SINGLE_QUERIES = 200
_CHUNKS_TO_KILL_IN = 16


def main() -> int:
    arguments = _arguments()
    return program.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    photos, out = Path(arguments.photos).resolve(), arguments.out.resolve()
    command = f'python -m benchmarks.end_to_end PHOTOS --name "{arguments.name}" --copies {arguments.copies}'
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="lookalike-benchmark-") as folder, contextlib.chdir(folder):
        results = program.head("end_to_end", command) | {"photographs": arguments.name}
        results |= _measure(photos, Path(folder).resolve(), arguments)
    results["wall_seconds"] = round(time.perf_counter() - started, 1)
    program.write(out, results)
    program.show(tables.all_tables(results), docs=arguments.docs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.end_to_end", description="Measure lookalike from a folder of photographs to hits."
    )
    parser.add_argument("photos", metavar="PHOTOS", help="folder of photographs; its path is not written down")
    parser.add_argument("--name", default="photographs of one's own", help="what the photographs are, in the results")
    parser.add_argument("--copies", type=int, default=200, help="photographs that are altered and searched for")
    program.add_out(parser, RESULTS)
    return parser.parse_args()


def _measure(photos: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    job = JobDir.at(folder / "jobs" / "job")
    job.jobs_root.mkdir()
    program.log("lookalike index")
    indexed = index_benchmark(photos, job, folder)
    search = altered.search_benchmark(job, photos, arguments.copies, _SINGLE_QUERIES, program.log)
    required = search["required"]
    program.log(f"{required['rank_1']} of {required['queries']} altered copies of the required kinds at rank 1")
    program.log("lookalike index, killed three times")
    again = JobDir.at(folder / "jobs" / "killed")
    chunk_size = max(1, load_manifest(job).listed // _CHUNKS_TO_KILL_IN)
    resumed = resume_check(photos, again, job, chunk_size, folder)
    return {"index": indexed, "search": search, "resume": resumed}


def index_benchmark(photos: Path, job: JobDir, folder: Path) -> dict[str, Any]:
    """`lookalike index PHOTOS JOB` as a person types it, and what it left in the job."""
    run = measured([LOOKALIKE, "index", str(photos), str(job.path)], folder / "index.log")
    job = open_job(job)
    seals = list(ledger.sealed(job))
    info = builds.current_info(job)
    if info is None:
        raise JobError(f"The run left no index in {job.path}.")
    stage_seconds = sum(seal.seconds for seal in seals)
    embed = [usage for usage in run.children if usage.role == "embed"]
    return {
        "listed": job.listed,
        "embedded": sum(seal.embedded for seal in seals),
        "failed": sum(seal.failed for seal in seals),
        "model": job.manifest.model.fingerprint,
        "wall_seconds": round(run.wall_seconds, 2),
        "cpu_seconds": round(run.cpu_seconds, 2),
        "embedding_seconds": round(stage_seconds, 2),
        "images_per_second": round(job.listed / stage_seconds, 1),
        "images_per_cpu_second_of_embed_worker": round(job.listed / sum(u.cpu_seconds for u in embed), 1),
        "workers": [usage.to_json() for usage in run.children if usage.role != "other"],
        "index": {
            "type": info.type,
            "factory": info.factory,
            "seconds": dict(info.seconds),
            "bytes": info.bytes,
            "recall_at_10": info.recall_at_10,
            "recall_queries": info.recall_queries,
            "p50_ms": round(info.p50_ms, 3),
            "p99_ms": round(info.p99_ms, 3),
        },
        "job_bytes": _bytes_by_folder(job.path),
        "image_bytes": sum(sum(_column(job, number, "bytes")) for number in job.sealed_numbers()),
    }


def _column(job: JobDir, partition: int, name: str) -> list[Any]:
    """A column of the metadata of a sealed partition: what is known of each embedded image."""
    column: list[Any] = pq.read_table(job.metadata(partition), columns=[name], partitioning=None)[name].to_pylist()
    return column


def _bytes_by_folder(job: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for path in sorted(job.rglob("*")):
        if path.is_file():
            top = path.relative_to(job).parts[0]
            found[top] = found.get(top, 0) + path.stat().st_size
    return found
