"""Measure merges of 1 % more beside a full build, with the exact answers that the build before kept and without them.

python -m benchmarks.growth.merging [--rows 2000000] [--dim 1792] [--turns 3]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.growth import tables
from benchmarks.growth.changes import grow
from benchmarks.growth.one_size import Source, merged
from benchmarks.support import made_jobs, program
from benchmarks.support.features import Features
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.answers import ANSWERS_FILE

RESULTS = program.RESULTS / "growth_merging.json"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth.merging", description="Measure merges of 1 % more beside a full build."
    )
    parser.add_argument("--rows", type=int, default=2_000_000, help="embeddings")
    parser.add_argument("--dim", type=int, default=1_792, help="dimensions of an embedding")
    parser.add_argument("--turns", type=int, default=3, help="merges of each kind")
    program.add_work(parser)
    program.add_out(parser, RESULTS)
    arguments = parser.parse_args()
    return program.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    command = f"python -m benchmarks.growth.merging --rows {arguments.rows} --dim {arguments.dim}"
    results: dict[str, Any] = program.head("growth-merging", command)
    results |= {"rows": arguments.rows, "dim": arguments.dim}
    with tempfile.TemporaryDirectory(prefix="lookalike-merging-", dir=arguments.work) as work:
        folder = Path(work)
        made_jobs.require_space(folder, arguments.rows, arguments.dim)
        features = Features(arguments.dim, arguments.rows)
        program.log(f"{arguments.rows:,} features")
        job, _ = made_jobs.imported(folder, arguments.rows, made_jobs.write_features(features, folder / "given"))
        results["merges"] = measure(job, Source(features), arguments.rows // 100, arguments.turns)
    results["wall_seconds"] = round(time.perf_counter() - started)
    program.write(arguments.out.resolve(), results)
    program.show(tables.merging_tables(results), docs=arguments.docs)


def measure(job: JobDir, source: Source, more: int, turns: int) -> list[dict[str, Any]]:
    """A full build; then so many merges of `more` embeddings with the kept exact answers, and as many without, by
    turns.
    """
    program.log("a full build")
    found = [{"kind": "full"} | _measured(job)]
    for _ in range(turns):
        for kind in ("kept", "asked anew"):
            program.log(f"{more:,} more, exact answers {kind}")
            grow(job, source.more(more))
            if kind != "kept":
                build = builds.current_build(job)
                assert build is not None
                (job.build_dir(build) / ANSWERS_FILE).unlink()
            found.append({"kind": kind, "added": more} | _measured(job))
    return found


def _measured(job: JobDir) -> dict[str, Any]:
    merge = merged(job)
    info = builds.current_info(job)
    assert info is not None
    return merge | {"recall_at_10": info.recall_at_10, "recall_queries": info.recall_queries}


if __name__ == "__main__":
    sys.exit(main())
