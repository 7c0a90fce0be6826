"""The command `lookalike pack`: put many small image files into a few hundred tars."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from coordinator.commands.options import Exclude, Include, Sniff
from coordinator.display import terminal
from coordinator.display.pack import PackPace, PackProgress
from coordinator.display.terminal import err
from coordinator.pack.create import IMAGES_PER_TAR, QUALITY, TAR_BYTES, Asked, make_or_open
from coordinator.pack.process import packer, packing_lock
from coordinator.sources.choosing import WITHOUT_SUFFIX, Choice
from coordinator.sources.listing import SNIFF_HINT
from shared.errors import UsageError
from shared.pack import tables
from shared.pack.directory import LEAST_TAR_BYTES, PackDir, PackSpec, load_spec
from shared.settings import load_settings
from shared.text import size, size_of


def pack(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="As for index: a folder of images, a .txt list of paths, or - for stdin."
        ),
    ],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of the tars: made, or gone on with.")],
    longest: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS", min=16, max=65_500, help="Longer images become JPEGs of this; left out: bytes stay."
        ),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(min=1, max=100, help=f"Quality of those JPEGs; left out: {QUALITY}.")
    ] = None,
    images_per_tar: Annotated[
        int | None, typer.Option(min=1, help=f"Images that a tar may hold; left out: {IMAGES_PER_TAR:,}.")
    ] = None,
    tar_bytes: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help=f"What a tar may take, such as 500MB; left out: {size(TAR_BYTES)}."),
    ] = None,
    webdataset: Annotated[
        bool, typer.Option("--webdataset", help="Name tars and images so that webdataset takes each for one sample.")
    ] = False,
    threads: Annotated[
        int, typer.Option(min=1, max=512, help="Images that are read at once: as many as a slow mount takes.")
    ] = 16,
    exclude: Exclude = None,
    include: Include = None,
    sniff: Sniff = False,
) -> None:
    """Pack the images of SOURCE into a few tars in DIR; the same command again continues after the last whole tar."""
    place = PackDir.at(directory)
    asked = Asked(longest, quality, images_per_tar, None if tar_bytes is None else _tar_bytes(tar_bytes), webdataset)
    choice = Choice(tuple(exclude or ()), tuple(include or ()), sniff)
    result: dict[str, Any] = {}
    with terminal.ending_in_order(lambda: _interrupted(place)), packing_lock(place) as lock:
        with err.status("Listing images …") as status:
            spec = make_or_open(
                source,
                place,
                asked,
                load_settings(),
                lambda count: status.update(f"Listing images … {count:,} so far"),
                choice,
            )
        err.print(f"{spec.listed:,} images; {_how(spec)}")
        if spec.source.left_out:
            left_out = ", ".join(f"{count:,} {reason}" for reason, count in spec.source.left_out.items())
            err.print(f"not listed: {left_out}")
        if WITHOUT_SUFFIX in spec.source.left_out:
            err.print(SNIFF_HINT)
        with packer(place, threads, lock) as said:
            terminal.follow(_frames(spec, said, result), "Stopping; the tar under way is dropped …")
        place.lock.unlink(missing_ok=True)
    for line in _finished(spec, place, result):
        err.print(line)


def _tar_bytes(text: str) -> int:
    count = size_of(text)
    if count < LEAST_TAR_BYTES:
        raise UsageError(f"--tar-bytes {text} is less than any tar takes: give at least {LEAST_TAR_BYTES:,} bytes.")
    return count


def _how(spec: PackSpec) -> str:
    kept = (
        "their bytes as they are"
        if spec.longest is None
        else (f"as JPEG of quality {spec.quality} where longer than {spec.longest:,} pixels")
    )
    return f"{kept}; tars of at most {spec.images_per_tar:,} images and {size(spec.tar_bytes)}"


def _frames(
    spec: PackSpec, said: Iterator[dict[str, Any]], result: dict[str, Any]
) -> Iterator[tuple[RenderableType, str]]:
    pace = PackPace(spec.listed)
    for told in said:
        if "result" in told:
            result.update(told["result"])
        else:
            progress = pace.told(**told)
            yield _view(progress), progress.line


def _view(progress: PackProgress) -> RenderableType:
    numbers = Table.grid(padding=(0, 2))
    numbers.add_row(
        ProgressBar(total=max(progress.listed, 1), completed=progress.done, width=40),
        Text(f"{progress.done / max(progress.listed, 1):.0%}", style="bold"),
        f"{progress.done:,}/{progress.listed:,} images",
        Text(f"{progress.failed:,} failed", style="red" if progress.failed else "dim"),
    )
    return Group(numbers, Text(progress.detail, style="dim"))


def _interrupted(place: PackDir) -> list[str]:
    if not place.spec.is_file():
        return ["Interrupted while the images were being listed; nothing was begun."]
    spec = load_spec(place)
    done = f"{tables.done(place, spec):,} of {spec.listed:,} images"
    return [f"Interrupted. {done} are packed in {place.path}; the tar under way was dropped.", terminal.how_to_go_on()]


def _finished(spec: PackSpec, place: PackDir, result: dict[str, Any]) -> list[str]:
    failed = f", {result['failed']:,} failed (each with its reason in {place.errors})" if result["failed"] else ""
    tars = result["tars"]
    return [
        f"{result['packed']:,} of {spec.listed:,} images packed{failed}",
        f"{len(tars):,} {'tar' if len(tars) == 1 else 'tars'}, {size(sum(tars.values()))}, in {place.path}",
        f"Index them:  lookalike index {shlex.quote(str(place.path))} JOB",
    ]
