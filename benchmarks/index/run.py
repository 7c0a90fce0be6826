"""Measure the index at 500,000 to 2,000,000 made features, through import, merge and search, and other libraries.

python -m benchmarks.index [--sizes 500000,1000000,2000000] [--crowded 2000000] [--peers 200000] [--resume]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.index import one_size, tables
from benchmarks.support import machine, made_jobs, program
from benchmarks.support.features import FITTED_ROWS
from benchmarks.support.processes import run_module
from shared.errors import UsageError

RESULTS = program.RESULTS / "index.json"
_PEERS = ("annoy", "hnswlib", "usearch", "lancedb", "qdrant-client", "numkong", "threadpoolctl")


def main() -> int:
    arguments = _arguments()
    return program.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    out = arguments.out.resolve()
    started = time.perf_counter()
    results = _begun(arguments, out)
    with tempfile.TemporaryDirectory(prefix="lookalike-index-", dir=arguments.work) as folder:
        for key, name, step in _steps(arguments, Path(folder)):
            if name not in results[key]:
                program.log(f"{key}: {name}")
                step(results[key].setdefault(name, {}))
                results["wall_seconds"] += round(time.perf_counter() - started)
                started = time.perf_counter()
                program.write(out, results)
    program.show(tables.all_tables(results), docs=arguments.docs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.index", description="Measure index and search at any size on made features."
    )
    parser.add_argument("--sizes", type=program.sizes, default="500000,1000000,2000000", help="embeddings, with commas")
    parser.add_argument("--dim", type=int, default=1_792, help="dimensions of an embedding")
    parser.add_argument("--peers", type=program.sizes, default="200000", help="sizes at which others are measured too")
    parser.add_argument("--crowded", type=program.sizes, default="2000000", help="sizes with many near copies, as well")
    parser.add_argument("--peer-seconds", type=float, default=420.0, help="after which a peer is given up")
    parser.add_argument(
        "--check-rows", type=int, default=FITTED_ROWS, help="made features that are held against real ones"
    )
    program.add_work(parser)
    parser.add_argument("--resume", action="store_true", help="keep what FILE holds of a run of the same machine")
    program.add_out(parser, RESULTS, each_step=True)
    return parser.parse_args()


def _begun(arguments: argparse.Namespace, out: Path) -> dict[str, Any]:
    """The results so far: those of an earlier run if it is to be resumed, else none."""
    if arguments.resume and out.is_file():
        kept: dict[str, Any] = json.loads(out.read_text())
        if (kept["dim"], kept["machine"]) != (arguments.dim, machine.machine()):
            raise UsageError(f"{out} was measured on another machine or at another dimension: leave --resume out.")
        return kept | {"command": _command(arguments)}
    begun = {"dim": arguments.dim, "wall_seconds": 0, "features": {}, "sizes": {}}
    return program.head("index", _command(arguments), *_PEERS) | begun


def _command(arguments: argparse.Namespace) -> str:
    given = {name: getattr(arguments, name) for name in ("sizes", "crowded", "peers")}
    lists = " ".join(f"--{name} {','.join(map(str, some)) or repr('')}" for name, some in given.items())
    return f"python -m benchmarks.index --dim {arguments.dim} {lists} --peer-seconds {arguments.peer_seconds:g}"


Step = tuple[str, str, Callable[[dict[str, Any]], None]]


def _steps(arguments: argparse.Namespace, folder: Path) -> list[Step]:
    """What is measured, as the part of the results, the name in it, and what fills it."""

    def check(into: dict[str, Any]) -> None:
        into.update(run_module("benchmarks.index.feature_facts", str(arguments.check_rows)))
        print(tables.facts_table(into), tables.check_table(into), sep="\n\n", flush=True)

    steps: list[Step] = [("features", "check", check)]
    for size in sorted({*arguments.sizes, *arguments.peers}):
        seconds = arguments.peer_seconds if size in arguments.peers else None
        steps.append(("sizes", f"{size}", partial(_measure, folder, size, arguments.dim, False, seconds)))
    for size in arguments.crowded:
        crowded = partial(_measure, folder, size, arguments.dim, True, None)
        steps.append(("sizes", f"{size} crowded", crowded))
    return steps


def _measure(
    folder: Path, size: int, dim: int, crowded: bool, peer_seconds: float | None, into: dict[str, Any]
) -> None:
    made_jobs.require_space(folder, size, dim)
    into.update(one_size.measure(folder, size, dim, program.log, crowded=crowded, peer_seconds=peer_seconds))
