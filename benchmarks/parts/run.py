"""Measure where the milliseconds of a search go, part by part and in batches, at two million made features.

python -m benchmarks.parts [--sizes 200000,2000000] [--dim 1792] [--docs]
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.parts import tables
from benchmarks.support import machine, made_jobs
from benchmarks.support.features import Features
from benchmarks.support.processes import REPOSITORY, require_linux, run_module
from benchmarks.support.queries import Queries
from benchmarks.support.tables import fill_in
from shared.errors import LookalikeError
from shared.settings import without_settings

RESULTS = REPOSITORY / "benchmarks" / "results" / "parts.json"
PAGE = REPOSITORY / "docs" / "benchmarks.md"


def main() -> int:
    arguments = _arguments()
    for variable in set(os.environ) - set(without_settings(os.environ)):
        del os.environ[variable]  # What is measured are the defaults.
    started = time.perf_counter()
    sizes = ",".join(map(str, arguments.sizes))
    results: dict[str, Any] = {
        "benchmark": "parts",
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m benchmarks.parts --sizes {sizes} --dim {arguments.dim}",
        "machine": machine.machine(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "versions": machine.versions((*machine.PACKAGES, "numkong")),
        "dim": arguments.dim,
        "sizes": [],
    }
    try:
        require_linux()
        with tempfile.TemporaryDirectory(prefix="lookalike-parts-", dir=arguments.work) as folder:
            for size in arguments.sizes:
                results["sizes"].append(_measured(Path(folder), size, arguments.dim))
    except LookalikeError as error:
        print(f"The benchmark could not be made: {error}", file=sys.stderr)
        return 1
    results["wall_seconds"] = round(time.perf_counter() - started)
    out = Path(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    made = tables.all_tables(results)
    print(*made.values(), sep="\n\n")
    if arguments.docs:
        PAGE.write_text(fill_in(PAGE.read_text(), made))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parts", description="Measure the parts of a search of the default index."
    )
    parser.add_argument("--sizes", type=_numbers, default="200000,2000000", help="embeddings, with commas")
    parser.add_argument("--dim", type=int, default=1_792, help="dimensions of an embedding")
    parser.add_argument("--work", help="where the work folder is made, removed at the end; left out: the system's")
    parser.add_argument("--out", default=RESULTS, help="where the results go, as JSON")
    parser.add_argument("--docs", action="store_true", help="put the figures into docs/benchmarks.md as well")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return sorted(int(part) for part in text.split(",") if part)


def _measured(folder: Path, rows: int, dim: int) -> dict[str, Any]:
    """The default index of `rows` features, built by the real merge, and the parts of its search."""
    made_jobs.require_space(folder, rows, dim)
    source = Features(dim, rows)
    _log(f"{rows:,}: features")
    given = made_jobs.write_features(source, folder / "given")
    queries = folder / f"queries-{rows}.npz"
    Queries.make(source, made_jobs.FRESH, copies=1).save(queries)
    del source
    _log(f"{rows:,}: import")
    job, _ = made_jobs.imported(folder, rows, given)
    _log(f"{rows:,}: exact truth")
    run_module("benchmarks.support.job_steps", "truth", job.path, queries)
    _log(f"{rows:,}: index")
    built = run_module("benchmarks.support.job_steps", "merge", job.path, "ivf-pq", "0.99")
    _log(f"{rows:,}: parts of a search")
    found: dict[str, Any] = run_module("benchmarks.parts.once", job.path, built["build"], queries)
    shutil.rmtree(job.path)
    return {"rows": rows, "factory": built["factory"], "recall_at_build": built["recall_at_build"]} | found


def _log(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
