"""Measure a job that grows and forgets, at 200,000 and 2,000,000 made features, and other stores at 200,000.

python -m benchmarks.growth [--sizes 200000,2000000] [--dim 1792] [--peers 200000] [--files 2000000]
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.growth import one_size, peers, tables
from benchmarks.support import made_jobs, program
from benchmarks.support.processes import run_module

_CHANGES = "1000"
RESULTS = program.RESULTS / "growth.json"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description="Measure a job that grows and forgets, on made features."
    )
    parser.add_argument("--sizes", type=program.sizes, default="200000,2000000", help="embeddings, with commas")
    parser.add_argument("--dim", type=int, default=1_792, help="dimensions of an embedding")
    parser.add_argument("--peers", type=int, default=200_000, help="size at which others are measured too; 0: at none")
    parser.add_argument("--files", type=int, default=2_000_000, help="files of a source that is compared; 0: of none")
    program.add_work(parser)
    program.add_out(parser, RESULTS, each_step=True)
    arguments = parser.parse_args()
    return program.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    sizes, dim = ",".join(map(str, arguments.sizes)), arguments.dim
    command = (
        f"python -m benchmarks.growth --sizes {sizes} --dim {dim} --peers {arguments.peers} --files {arguments.files}"
    )
    results: dict[str, Any] = program.head("growth", command, "lancedb", "qdrant-client")
    results |= {"dim": dim, "wall_seconds": 0, "sizes": {}, "peers": [], "listing": None}

    def written() -> None:
        results["wall_seconds"] = round(time.perf_counter() - started)
        program.write(arguments.out.resolve(), results)

    if arguments.files:
        program.log(f"a source of {arguments.files:,} files")
        with tempfile.TemporaryDirectory(prefix="lookalike-growth-", dir=arguments.work) as folder:
            results["listing"] = run_module("benchmarks.growth.listing", str(arguments.files), _CHANGES, folder)
        written()
    for name in peers.PEERS if arguments.peers else ():
        program.log(f"{name}, {arguments.peers:,}")
        results["peers"].append(run_module("benchmarks.growth.peers", name, str(arguments.peers), str(dim)))
        written()
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="lookalike-growth-", dir=arguments.work) as folder:
            made_jobs.require_space(Path(folder), size * 2, dim)
            results["sizes"][f"{size}"] = one_size.measure(Path(folder), size, dim, program.log)
        written()
    program.show(tables.all_tables(results), docs=arguments.docs)
