"""Measure where the milliseconds of a search go, part by part and in batches, at two million made features.

python -m benchmarks.parts [--sizes 200000,2000000] [--dim 1792] [--docs]
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.parts import tables
from benchmarks.support import made_jobs, program
from benchmarks.support.features import Features
from benchmarks.support.processes import run_module
from benchmarks.support.queries import Queries

RESULTS = program.RESULTS / "parts.json"


def main() -> int:
    arguments = _arguments()
    return program.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    sizes = ",".join(map(str, arguments.sizes))
    command = f"python -m benchmarks.parts --sizes {sizes} --dim {arguments.dim}"
    results = program.head("parts", command, "numkong") | {"dim": arguments.dim, "sizes": []}
    with tempfile.TemporaryDirectory(prefix="lookalike-parts-", dir=arguments.work) as folder:
        for size in arguments.sizes:
            results["sizes"].append(_measured(Path(folder), size, arguments.dim))
    results["wall_seconds"] = round(time.perf_counter() - started)
    program.write(arguments.out, results)
    program.show(tables.all_tables(results), docs=arguments.docs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parts", description="Measure the parts of a search of the default index."
    )
    parser.add_argument("--sizes", type=program.sizes, default="200000,2000000", help="embeddings, with commas")
    parser.add_argument("--dim", type=int, default=1_792, help="dimensions of an embedding")
    program.add_work(parser)
    program.add_out(parser, RESULTS)
    return parser.parse_args()


def _measured(folder: Path, rows: int, dim: int) -> dict[str, Any]:
    """The default index of `rows` features, built by the real merge, and the parts of its search."""
    made_jobs.require_space(folder, rows, dim)
    source = Features(dim, rows)
    program.log(f"{rows:,}: features")
    given = made_jobs.write_features(source, folder / "given")
    queries = folder / f"queries-{rows}.npz"
    Queries.make(source, made_jobs.FRESH, copies=1).save(queries)
    del source
    program.log(f"{rows:,}: import")
    job, _ = made_jobs.imported(folder, rows, given)
    program.log(f"{rows:,}: exact truth")
    run_module("benchmarks.support.job_steps", "truth", job.path, queries)
    program.log(f"{rows:,}: index")
    built = run_module("benchmarks.support.job_steps", "merge", job.path, "ivf-pq", "0.99")
    program.log(f"{rows:,}: parts of a search")
    found: dict[str, Any] = run_module("benchmarks.parts.once", job.path, built["build"], queries)
    shutil.rmtree(job.path)
    return {"rows": rows, "factory": built["factory"], "recall_at_build": built["recall_at_build"]} | found
