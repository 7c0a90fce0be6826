"""The command `lookalike retry`: try failed images of a job again, and say what came of it."""

from typing import Annotated

import typer

from coordinator.commands.options import Broker, Engine, Job
from coordinator.display import run_view, terminal
from coordinator.jobs.runs import retry_run
from coordinator.jobs.runs.retry_run import Asked
from coordinator.local.resources import named_broker
from shared.job.directory import JobDir
from shared.job.opened import open_job
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
    opened = open_job(JobDir.at(job))
    settings = load_settings().changed(broker_url=broker, engine=engine)
    asked = Asked(opened, settings, status or (), workers)
    with terminal.interruptible(opened), run_view.RunView(opened, named_broker(settings, broker)) as view:
        retry_run.retry(asked, view.tell)
