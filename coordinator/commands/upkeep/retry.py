"""The command `lookalike retry`: try failed images of a job again, and say what came of it."""

from contextlib import ExitStack
from typing import Annotated

import typer

from coordinator.commands.options import Broker, Engine, Job
from coordinator.display import job as display
from coordinator.display import terminal
from coordinator.display.terminal import err
from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.retry import by_status, failed_images, is_under_way, take_back
from coordinator.jobs.run import run_job
from coordinator.local.resources import named_broker, workers_for_index
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from shared.settings import load_settings


def retry(
    job: Job,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status", metavar="STATUS", help="Only those that failed so, as truncated; may be given several times."
        ),
    ] = None,
    engine: Engine = None,
    broker: Broker = None,
    workers: Annotated[
        int,
        typer.Option(min=1, help="Embed workers to start, when no broker is given."),
    ] = 1,
) -> None:
    """Try the failed images of JOB again, and build its index again; no other image is read or embedded again."""
    directory = JobDir.at(job)
    manifest = load_manifest(directory)
    settings = load_settings().changed(broker_url=broker, engine=engine)
    with terminal.interruptible(directory):
        reader = ProgressReader(directory, manifest)
        before, progress = failed_images(directory, manifest), reader.read()
        was_whole = progress.complete
        going_on = not progress.index_is_current and (was_whole or is_under_way(directory))
        taken = take_back(directory, manifest, status or (), going_on=going_on)
        progress = reader.read()
        if taken:
            err.print(f"{_images(taken.total())} tried again: {by_status(taken)}")
        elif progress.index_is_current:
            err.print(f"No image of {directory.path} failed: there is nothing to try again.")
            return
        else:
            how = f" as {' or '.join(status)}" if status else ""
            err.print(f"No other image of {directory.path} failed{how}; the job is not done, and goes on.")
        if not progress.index_is_current:
            shown = named_broker(settings, broker)
            with ExitStack() as stack:
                settings, children = workers_for_index(stack, directory, settings, progress, workers)
                progress = terminal.show_until_done(run_job(directory, manifest, settings, children), shown)
        if taken and was_whole:
            left = failed_images(directory, manifest) - (before - taken)
            still = f"{left.total():,} still fail: {by_status(left)}" if left else "none of them fails any more"
            now = taken.total() - left.total()
            err.print(f"{now:,} of them {'is' if now == 1 else 'are'} embedded now; {still}")
        for line in display.finished_lines(progress, str(directory.path)):
            err.print(line)


def _images(count: int) -> str:
    return "1 failed image is" if count == 1 else f"{count:,} failed images are"
