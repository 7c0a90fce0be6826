"""Measure a search for duplicates among made features with planted copies: seconds, memory, and the pairs it finds.

python -m benchmarks.truth.duplicates [--sizes 200000] [--dim 512] [--docs]
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support import made_jobs, program
from benchmarks.support.features import Features
from benchmarks.support.processes import run_module
from benchmarks.truth.duplicates import tables
from benchmarks.truth.duplicates.once import COSINES, PLANTED

RESULTS = program.RESULTS / "duplicates.json"


def main() -> int:
    arguments = _arguments()
    return program.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    sizes = ",".join(map(str, arguments.sizes))
    command = f"python -m benchmarks.truth.duplicates --sizes {sizes} --dim {arguments.dim}"
    results = program.head("duplicates", command) | {"dim": arguments.dim, "sizes": []}
    with tempfile.TemporaryDirectory(prefix="lookalike-duplicates-", dir=arguments.work) as folder:
        for size in arguments.sizes:
            results["sizes"].append(_measured(Path(folder), size, arguments.dim))
            program.write(arguments.out, results)
    results["wall_seconds"] = round(time.perf_counter() - started)
    program.write(arguments.out, results)
    program.show(tables.all_tables(results), docs=arguments.docs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.truth.duplicates", description="Measure a search for duplicates among made features."
    )
    parser.add_argument("--sizes", type=program.sizes, default="200000", help="embeddings, with commas")
    parser.add_argument("--dim", type=int, default=512, help="dimensions of an embedding")
    program.add_work(parser)
    program.add_out(parser, RESULTS, each_step=True)
    return parser.parse_args()


def _measured(folder: Path, rows: int, dim: int) -> dict[str, Any]:
    """A job of so many features, the last of them planted copies of others, and a search for duplicates in it."""
    made_jobs.require_space(folder, rows, dim)
    planted = PLANTED * len(COSINES)
    source = Features(dim, rows - planted)
    program.log(f"{rows:,}: features")
    given = made_jobs.write_features(source, folder / "given")
    copies = [source.copies(number, PLANTED, cosine) for number, cosine in enumerate(COSINES)]
    np.save(given / "planted.npy", np.concatenate(copies).astype(np.float16))
    del source
    program.log(f"{rows:,}: import")
    job, imported = made_jobs.imported(folder, rows, given)
    program.log(f"{rows:,}: index")
    built = made_jobs.step("merge", job, "auto", "0.99")
    program.log(f"{rows:,}: duplicates")
    found: dict[str, Any] = run_module("benchmarks.truth.duplicates.once", job.path)
    shutil.rmtree(job.path)
    return {
        "rows": rows,
        "factory": built["factory"],
        "import_seconds": imported["seconds"],
        "merge_seconds": built["wall_seconds"],
    } | found
