"""The command `lookalike delete`: remove images of a job from all answers."""

from pathlib import Path
from typing import Annotated

import typer

from coordinator.client.image_ids import ids_in
from coordinator.commands.options import Job
from coordinator.display.changes.removal import removal_lines
from coordinator.display.run_view import RunView
from coordinator.display.terminal import out
from coordinator.jobs.changes.removal import Asked, remove
from shared.errors import UsageError
from shared.job.directory import JobDir


def delete(
    job: Job,
    images: Annotated[
        list[str] | None, typer.Argument(metavar="IMAGE", help="Images, each by its id or its path as hits give it.")
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The images whose ids are in FILE, one a line or a .npy; - for stdin."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="EXPRESSION", help='The embedded images whose metadata fits: "width < 100".'),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many would be removed, and change nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove what --where matches although it is more than 20 % of what is left.")
    ] = False,
) -> None:
    """Remove images of JOB from all answers, at once and for good; image files stay, and ids are never reused."""
    if sum((bool(images), ids is not None, where is not None)) != 1:
        raise UsageError(
            "Name what is to be removed in one way: an IMAGE or several, --ids FILE, or --where EXPRESSION."
        )
    directory = JobDir.at(job)
    asked = Asked(images or (), None if ids is None else ids_in(ids), where, yes, dry_run)
    with RunView(directory, "") as view:
        removal = remove(directory, asked, view.tell)
    for line in removal_lines(removal, directory, dry_run=dry_run):
        out.print(line)
