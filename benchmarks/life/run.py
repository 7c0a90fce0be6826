"""Play the life of a job under kills, and check after each turn that it is what it would be without them.

python -m benchmarks.life [--turns 50] [--seed 1] [--images 120] [--out FILE] [--docs]
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.life import table
from benchmarks.life.plan import draw
from benchmarks.life.play import Life, Played
from benchmarks.support import program
from benchmarks.support.processes import REPOSITORY, environment
from shared.settings import Settings

_PAGE = REPOSITORY / "docs" / "chaos.md"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.life", description="Kill the commands of a job that grows and forgets."
    )
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same turns")
    parser.add_argument("--images", type=int, default=120, help="photographs at the beginning")
    parser.add_argument("--out", type=Path, help="write the results there, as JSON, after each turn")
    parser.add_argument("--docs", action="store_true", help="put the table into docs/chaos.md")
    arguments = parser.parse_args()
    wrong = False

    def measure() -> None:
        nonlocal wrong
        wrong = _play(arguments)

    return program.run(measure) or int(wrong)


def _play(arguments: argparse.Namespace) -> bool:
    """Whether anything did not hold; what it was is printed, and its folder is kept."""
    folder = Path(tempfile.mkdtemp(prefix="lookalike-life-"))
    options = f"--turns {arguments.turns} --seed {arguments.seed} --images {arguments.images}"
    results: dict[str, Any] = program.head("life", f"python -m benchmarks.life {options}")
    started = time.perf_counter()
    life = Life(folder, arguments.images, _environment(folder))
    life.begin()
    turns: list[Played] = []
    for turn in draw(arguments.seed, arguments.turns):
        played = life.play(turn)
        turns.append(played)
        kills = ", ".join(f"{kill.seconds:.1f} s{' after its change' * kill.committed}" for kill in played.kills)
        program.log(f"{turn.number} {turn.kind}, {played.seconds:.1f} s undisturbed, killed at: {kills or 'never'}")
        results = _with(results, turns, time.perf_counter() - started, [])
        _write(arguments.out, results)
        if played.mismatches:
            break
    if not turns[-1].mismatches:
        results = _with(results, turns, time.perf_counter() - started, life.end())
        _write(arguments.out, results)
    mismatches = [*results["end_mismatches"], *turns[-1].mismatches]
    if mismatches:
        print(*mismatches, f"Jobs and the log of the commands lie in {folder}", sep="\n", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    print(table.life_table(results))
    if arguments.docs:
        _PAGE.write_text(table.fill_in(_PAGE.read_text(), results))
    return bool(mismatches)


def _with(head: dict[str, Any], turns: list[Played], seconds: float, wrong: list[str]) -> dict[str, Any]:
    return head | {
        "wall_seconds": round(seconds, 1),
        "end_mismatches": wrong,
        "turns": [played.to_json() for played in turns],
    }


def _write(out: Path | None, results: dict[str, Any]) -> None:
    if out is not None:
        program.write(out, results)


def _environment(folder: Path) -> dict[str, str]:
    """That of the tests' light model."""
    from tests.integration.faults.faults import Faults

    settings = Settings(jobs_root=folder / "jobs").to_environment()
    return environment() | settings | Faults(folder / "faults").environment(light=True, copies=48)
