"""Measure a job that grows and forgets, at 200,000 and 2,000,000 made features.

python -m benchmarks.growth [--sizes 200000,2000000] [--dim 1792]
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.growth import one_size, tables
from benchmarks.support import made_jobs, program

RESULTS = program.RESULTS / "growth.json"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description="Measure a job that grows and forgets, on made features."
    )
    parser.add_argument("--sizes", type=program.sizes, default="200000,2000000", help="embeddings, with commas")
    parser.add_argument("--dim", type=int, default=1_792, help="dimensions of an embedding")
    program.add_work(parser)
    program.add_out(parser, RESULTS, each_step=True)
    arguments = parser.parse_args()
    return program.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    command = f"python -m benchmarks.growth --sizes {','.join(map(str, arguments.sizes))} --dim {arguments.dim}"
    results: dict[str, Any] = program.head("growth", command) | {"dim": arguments.dim, "wall_seconds": 0, "sizes": {}}
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="lookalike-growth-", dir=arguments.work) as folder:
            made_jobs.require_space(Path(folder), size * 2, arguments.dim)
            results["sizes"][f"{size}"] = one_size.measure(Path(folder), size, arguments.dim, program.log)
        results["wall_seconds"] = round(time.perf_counter() - started)
        program.write(arguments.out.resolve(), results)
    program.show(tables.all_tables(results), docs=arguments.docs)
