"""What tests of benchmarks' tables share: where page and results are, the head of a run, and the cells of a table."""

from pathlib import Path

from benchmarks.support.queries import COSINES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
ACCURACY = {f"{cosine:g}": 0.9 for cosine in COSINES}
MS = {"p50": 1.25, "p99": 2.5, "runs": [[1.25, 2.5]]}
HEADER = {
    "machine": {"cpu": "a CPU", "cores": 2, "memory_bytes": 8_000_000_000, "system": "Linux", "accelerators": []},
    "load_before": [0.1, 0.2, 0.3],
    "versions": {"python": "3.11"},
    "made_at": "2026-01-01",
    "wall_seconds": 60,
    "command": "python -m benchmarks.x",
}


def lines(made: str) -> list[list[str]]:
    """The cells of each row of a table, without its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in made.splitlines()[2:]]
