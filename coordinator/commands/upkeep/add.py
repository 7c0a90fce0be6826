"""The command `lookalike add`: add a few images or vectors to a job, which are found when it ends."""

from typing import Annotated

import typer

from coordinator.commands.options import Job
from coordinator.display.changes.addition import addition_lines
from coordinator.display.run_view import RunView
from coordinator.display.terminal import out
from coordinator.jobs.changes.addition import Asked
from coordinator.jobs.changes.addition import add as added
from shared.errors import UsageError
from shared.errors.remedy import left_out
from shared.job.directory import JobDir


def add(
    job: Job,
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE", help="Images, each by its path, its URL or ARCHIVE::NAME."),
    ] = None,
    vectors: Annotated[
        str | None,
        typer.Option(metavar="EMBEDDINGS", help="Vectors instead, for a job of imported ones: as import takes them."),
    ] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Parquet column that holds the vectors, as lists of floats.")
    ] = None,
    path_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Metadata column with the image paths; left out: image_path.")
    ] = None,
    model_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What made the vectors, to compare with what made those of JOB.")
    ] = None,
) -> None:
    """Add a few images to JOB, all or none: a search finds them when the command ends. A refresh of JOB from its source
    leaves them alone.
    """
    if bool(images) == (vectors is not None):
        raise UsageError("Name what is to be added in one way: an IMAGE or several, or --vectors EMBEDDINGS.")
    given = {"column": column, "path_column": path_column, "model_name": model_name}
    for name, value in given.items():
        if vectors is None and value is not None:
            raise UsageError("It is about vectors, and images are named", remedy=left_out(name, "give vectors"))
    directory = JobDir.at(job)
    with RunView(directory, "") as view:
        changed = added(Asked(directory, images or (), vectors, column, path_column, model_name), view.tell)
    for line in addition_lines(changed, directory, "image" if vectors is None else "vector"):
        out.print(line)
