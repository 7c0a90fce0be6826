"""The command `lookalike export`: make a bundle of a job, which a laptop searches without photos and embeddings."""

from pathlib import Path
from typing import Annotated

import typer

from coordinator.commands.options import Job
from coordinator.display import terminal
from coordinator.display.bundle import exported_lines
from coordinator.display.run_view import RunView
from coordinator.display.terminal import out
from coordinator.export.export import LEAST_THUMBNAIL, MOST_THUMBNAIL
from coordinator.export.export import export as exported
from shared.job.directory import JobDir


def export(
    job: Job,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder to make; or one that was begun.")],
    thumbnails: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            min=LEAST_THUMBNAIL,
            max=MOST_THUMBNAIL,
            help="Small JPEGs of all images, their longer side of so many pixels; left out: none.",
        ),
    ] = None,
) -> None:
    """Make a BUNDLE of JOB: a folder that is searched like a job, without its photos and its embeddings."""
    directory, place = JobDir.at(job), JobDir.at(bundle)
    with (
        terminal.ending_in_order(lambda: ["Interrupted. There is no bundle yet.", terminal.how_to_go_on()]),
        RunView(directory, "", waits=terminal.lasting) as view,
    ):
        made = exported(directory, place, thumbnails or 0, view.tell)
    for line in exported_lines(made, place):
        out.print(line)
