"""The command `lookalike compact`: let what was removed leave the disk, and make whole partitions of small ones."""

from typing import Annotated

import typer

from coordinator.commands.options import Broker, Engine, Job
from coordinator.display import job_view, run_view, terminal
from coordinator.jobs.changes.compacting.plan import Bounds
from coordinator.jobs.runs import compact_run
from coordinator.jobs.runs.compact_run import Asked
from coordinator.local.resources import named_broker
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.settings import load_settings


def compact(
    job: Job,
    share: Annotated[
        float,
        typer.Option(
            metavar="SHARE", min=0.0, max=1.0, help="Only partitions of which more than this share was removed."
        ),
    ] = 0.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how much would be freed, and change nothing.")
    ] = False,
    engine: Engine = None,
    broker: Broker = None,
) -> None:
    """Let removed images of JOB leave the disk, join its small partitions, and build its index without them."""
    opened = open_job(JobDir.at(job))
    settings = load_settings().changed(broker_url=broker, engine=engine)
    asked = Asked(opened, settings, Bounds(share), dry_run)
    finished = job_view.imported_lines if opened.manifest.model.is_imported else job_view.finished_lines
    view = run_view.RunView(opened, named_broker(settings, broker), finished)
    with terminal.interruptible(opened), view:
        compact_run.compact(asked, view.tell)
