"""What the runs that search for altered photographs do alike: their options, what they draw, the job, the page."""

import argparse
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.support import program
from benchmarks.support.processes import LOOKALIKE, measured
from benchmarks.support.tables import fill_in
from shared.errors import UsageError
from shared.job.directory import JobDir

PAGE: Final = program.PAGE.with_name("verdicts.md")
_SEED: Final = 0


class Drawn(NamedTuple):
    """The photographs of a job, of which the first are altered, and others that are altered and not in it."""

    listed: Sequence[Path]
    absent: Sequence[Path]


def add_arguments(parser: argparse.ArgumentParser, out: Path) -> None:
    """Add what all of these runs are given; `out` is where the results go by default."""
    parser.add_argument("photos", metavar="PHOTOS", help="folder of photographs; its path is not written down")
    parser.add_argument("--name", default="photographs of one's own", help="what the photographs are, in the results")
    parser.add_argument("--most", type=int, default=100_000, help="photographs that are indexed, drawn from all")
    parser.add_argument("--originals", type=int, default=60, help="photographs that are altered and searched for")
    program.add_work(parser)
    parser.add_argument("--out", type=Path, default=out, help="where the results go, as JSON")
    parser.add_argument("--docs", action="store_true", help="put the figures into docs/verdicts.md as well")


def drawn(arguments: argparse.Namespace, least: int = 1) -> Drawn:
    """What a run draws, the same each time.

    Raises UsageError where the job would have fewer than `least` times as many photographs as are altered.
    """
    photos = sorted(Path(arguments.photos).resolve().rglob("*.jpg"), key=str)
    random.Random(_SEED).shuffle(photos)
    most = min(arguments.most, len(photos) - arguments.originals)
    if most < least * arguments.originals:
        raise UsageError(f"{len(photos):,} .jpg are there: {(least + 1) * arguments.originals:,} at least are needed.")
    return Drawn(photos[:most], photos[most : most + arguments.originals])


def index_photos(job: JobDir, photos: Sequence[Path], folder: Path, *options: str) -> None:
    """Make a job of the photographs as a person does."""
    program.log(f"lookalike index: {len(photos):,} photographs")
    listing = job.jobs_root / "photos.txt"
    job.jobs_root.mkdir(parents=True, exist_ok=True)
    listing.write_text("".join(f"{path}\n" for path in photos))
    measured([LOOKALIKE, "index", str(listing), str(job.path), *options], folder / "index.log")
    job.require()


def end(
    arguments: argparse.Namespace,
    results: dict[str, Any],
    started: float,
    tables: Callable[[dict[str, Any]], Mapping[str, str]],
) -> None:
    """Write the results of a run that `started` then, and show the `tables` of them, in the page too if asked."""
    results["wall_seconds"] = round(time.perf_counter() - started)
    program.write(arguments.out, results)
    made = tables(results)
    program.show(made, docs=False)
    if arguments.docs:
        PAGE.write_text(fill_in(PAGE.read_text(), made))
