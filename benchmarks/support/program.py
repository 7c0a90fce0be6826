"""What the programs of several subjects do alike: their common options, the head of their results, where those go."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.support import machine
from benchmarks.support.processes import REPOSITORY, require_linux
from benchmarks.support.tables import fill_in
from shared.errors import LookalikeError
from shared.settings import without_settings

RESULTS = REPOSITORY / "benchmarks" / "results"
PAGE = REPOSITORY / "docs" / "benchmarks.md"


def add_work(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", help="where the work folder is made, removed at the end; left out: the system's")


def add_out(parser: argparse.ArgumentParser, out: Path | None, *, each_step: bool = False) -> None:
    """Add --out, `out` by default, and --docs; `each_step` says that the results go there after each step."""
    told = "where the results go, as JSON, after each step" if each_step else "where the results go, as JSON"
    parser.add_argument("--out", type=Path, default=out, help=told)
    parser.add_argument("--docs", action="store_true", help="put the figures into docs/benchmarks.md as well")


def names(text: str) -> list[str]:
    """The parts of a list with commas."""
    return [part for part in text.split(",") if part]


def numbers(text: str) -> list[int]:
    """The numbers of a list with commas, in their order."""
    return [int(part) for part in names(text)]


def sizes(text: str) -> list[int]:
    """The numbers of a list with commas, ascending."""
    return sorted(numbers(text))


def run(measure: Callable[[], None]) -> int:
    """Measure with lookalike's defaults, whatever the environment sets; the exit status, 1 where it can't be done."""
    for variable in set(os.environ) - set(without_settings(os.environ)):
        del os.environ[variable]
    try:
        require_linux()
        measure()
    except LookalikeError as error:
        print(f"The benchmark could not be made: {error}", file=sys.stderr)
        return 1
    return 0


def head(benchmark: str, command: str, *packages: str) -> dict[str, Any]:
    """What the results of every benchmark begin with; `packages` are those whose versions count beside the usual."""
    return {
        "benchmark": benchmark,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "machine": machine.machine(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "versions": machine.versions((*machine.PACKAGES, *packages)),
    }


def log(text: str) -> None:
    """Say on stderr what is measured now."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def write(out: Path, results: Mapping[str, Any]) -> None:
    """Write the results to `out` as JSON."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")


def show(made: Mapping[str, str], *, docs: bool) -> None:
    """Print the tables `made`; with `docs`, put them into docs/benchmarks.md too."""
    print(*made.values(), sep="\n\n")
    if docs:
        PAGE.write_text(fill_in(PAGE.read_text(), made))
