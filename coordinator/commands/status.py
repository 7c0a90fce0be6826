"""The command `lookalike status`: show how far a job is, once or repeatedly."""

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import RenderableType

from coordinator.commands.options import Job, Json
from coordinator.display import job as display
from coordinator.display import terminal
from coordinator.display.terminal import out
from coordinator.jobs import activity
from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.run import LOOK_SECONDS, STORE_LOOK_SECONDS
from shared.errors import UsageError
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from shared.settings import Settings, load_settings


def status(
    job: Job,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and follow until the job is done.")] = False,
    as_json: Json = False,
    broker: Annotated[
        str | None,
        typer.Option("--broker", metavar="URL", help="Redis that knows who works; left out: the embedded one, if up."),
    ] = None,
) -> None:
    """Say how far a job is, from its directory alone, and which workers are at work on it, if a broker answers."""
    if watch and as_json:
        raise UsageError("--watch and --json don't go together: run `status --json` again and again instead.")
    directory = JobDir.at(job)
    settings = load_settings().changed(broker_url=broker)
    reader = ProgressReader(directory, load_manifest(directory))
    if watch:
        terminal.watch(_frames(directory, reader, settings), STORE_LOOK_SECONDS if directory.in_store else LOOK_SECONDS)
    progress, found = reader.read(), activity.look(directory, reader.manifest.identity, settings)
    if as_json:
        terminal.show_json(progress.to_json() | {"broker": found.to_json()})
        return
    for line in [*display.status_lines(progress), *display.activity_lines(found, reader.manifest.partition_count)]:
        out.print(line)


def _frames(job: JobDir, reader: ProgressReader, settings: Settings) -> Iterator[tuple[RenderableType, str]]:
    """The frames of `status --watch`, a view and a line, until the job is done."""
    while not (progress := reader.read()).index_is_current:
        lines = display.activity_lines(
            activity.look(job, reader.manifest.identity, settings), reader.manifest.partition_count
        )
        line = " · ".join([display.one_line(progress), *(" ".join(line.split()) for line in lines)])
        yield display.live_view(progress, display.rate_line(progress), lines), line
