"""The command `lookalike status`: show how far a job is, once or repeatedly."""

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import RenderableType

from coordinator.commands.options import Job, Json
from coordinator.display import job_view, terminal
from coordinator.display.terminal import out
from coordinator.jobs import activity
from coordinator.jobs.progress import ProgressReader
from shared.errors import UsageError
from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.job.opened import open_job
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
    reader = ProgressReader(open_job(directory))
    if watch:
        terminal.watch(_frames(directory, reader, settings), JobFiles.of(directory, settings).look_seconds)
    progress, found = reader.read(), activity.look(directory, reader.job.manifest.identity, settings)
    if as_json:
        terminal.show_json(progress.to_json() | {"broker": found.to_json()})
        return
    for line in [
        *job_view.status_lines(progress),
        *job_view.activity_lines(found, reader.job.state.next_number),
    ]:
        out.print(line)


def _frames(job: JobDir, reader: ProgressReader, settings: Settings) -> Iterator[tuple[RenderableType, str]]:
    """The frames of `status --watch`, a view and a line, until the job is done."""
    while not (progress := reader.read()).is_whole:
        lines = job_view.activity_lines(
            activity.look(job, reader.job.manifest.identity, settings), reader.job.state.next_number
        )
        line = " · ".join([job_view.one_line(progress), *(" ".join(line.split()) for line in lines)])
        yield job_view.live_view(progress, job_view.rate_line(progress), lines), line
