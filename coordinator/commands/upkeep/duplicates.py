"""The command `lookalike duplicates`: show which images of a job show the same, and which of each group to keep."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from coordinator.commands.options import Broker, Job, Json, new_file
from coordinator.display import terminal
from coordinator.display.pages import groups, report
from coordinator.display.pages.report import Thumbnail
from coordinator.display.pages.thumbnails import make_thumbnails
from coordinator.display.run_view import RunView
from coordinator.display.terminal import err, out
from coordinator.jobs.runs.duplicates import rejecting
from coordinator.jobs.runs.duplicates.found import KINDS, LIKE, Found
from coordinator.jobs.runs.duplicates.run import SIMILARITY, Asked
from coordinator.jobs.runs.duplicates.run import duplicates as find_duplicates
from coordinator.jobs.runs.duplicates.table import write_table
from coordinator.local.resources import named_broker
from shared.errors import UsageError
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.settings import load_settings


def duplicates(
    job: Job,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="With --reject: images that are no duplicates.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(KINDS),
            help="What images of a group have in common; left out: picture, or similar of imported vectors.",
        ),
    ] = None,
    similarity: Annotated[
        float | None,
        typer.Option(
            metavar="COSINE",
            help=f"The least similarity: of the kind similar, {SIMILARITY:g} if left out; of others, to be compared.",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="REPORT.html", help="Write a page with the groups side by side.")
    ] = None,
    as_json: Json = False,
    table: Annotated[
        Path | None,
        typer.Option("--parquet", metavar="FILE.parquet", help="Write a table with a row for each image of a group."),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="best", help="Print only the paths of the images that the best of each group replaces."),
    ] = None,
    reject: Annotated[
        bool, typer.Option("--reject", help="Remember that the images ID ID are no duplicates, and show nothing.")
    ] = False,
    reject_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="As --reject, for each line of FILE, which holds two ids or more."),
    ] = None,
    broker: Broker = None,
) -> None:
    """Group the images of JOB that show the same, and say which of each group is best; nothing is deleted."""
    opened = open_job(JobDir.at(job))
    if reject or reject_file is not None:
        _reject(opened, ids or (), reject, reject_file)
        return
    if ids:
        raise UsageError(f"It is not said what {' '.join(ids)[:80]} are for: with --reject they are no duplicates.")
    if keep is not None:
        _require_sense(keep, kind, as_json, opened)
    page = None if html is None else new_file(html, ".html", "The report")
    rows = None if table is None else new_file(table, ".parquet", "The table")
    settings = load_settings().changed(broker_url=broker)
    with (
        terminal.ending_in_order(
            lambda: ["Interrupted. What was found out is kept in the job.", terminal.how_to_go_on()]
        ),
        RunView(opened, named_broker(settings, broker), waits=terminal.lasting) as view,
    ):
        found = find_duplicates(Asked(opened, settings, kind, similarity), view.tell)
    if rows is not None:
        write_table(rows, found)
    if page is not None:
        report.write_report(page, found, _thumbnails(opened, found))
    _show(found, as_json, keep)
    for path, what in ((rows, "table"), (page, "report")):
        if path is not None:
            err.print(f"{what}: {path}")


def _show(found: Found, as_json: bool, keep: str | None) -> None:
    if as_json:
        terminal.show_json(found.to_json())
    elif keep is not None:
        paths, left = groups.others_to_go(found)
        for path in paths:
            out.print(path)
        if left:
            images = (
                "1 image is not in the list, as it shows"
                if left == 1
                else f"{left:,} images are not in the list, as they show"
            )
            err.print(f"{images} more than the one to keep, or the same in more pixels.")
    else:
        for line in groups.group_lines(found):
            out.print(line)
    for note in found.notes:
        err.print(note)
    err.print(groups.summary_line(found))


def _require_sense(keep: str, kind: str | None, as_json: bool, job: OpenJob) -> None:
    if keep != "best":
        raise UsageError(f"--keep best is the only choice there is, not {keep!r}: the groups say why each is the best.")
    if as_json:
        raise UsageError("--keep prints paths, and --json one object which says of each image whether to keep it.")
    if kind == LIKE or (kind is None and job.manifest.model.is_imported):
        raise UsageError(
            "Images that are only similar may show different things, so --keep lists none of them: look at the groups, "
            "or ask for another --kind."
        )


def _reject(job: OpenJob, ids: Sequence[str], reject: bool, file: Path | None) -> None:
    if file is not None and (reject or ids):
        raise UsageError("Name the images that are no duplicates in one way: --reject ID ID, or --reject-file FILE.")
    sets = [rejecting.image_ids(ids, "What is rejected")] if file is None else rejecting.sets_in(file)
    new = rejecting.reject(job, sets)
    pairs = "1 pair is" if new == 1 else f"{new:,} pairs are"
    out.print(f"{pairs} not shown as duplicates any more." if new else "These were rejected before: nothing changed.")


def _thumbnails(job: OpenJob, found: Found) -> dict[int, Thumbnail]:
    ids = report.shown_ids(found)
    with terminal.waiting(f"Making {len(ids):,} thumbnails …"):
        return make_thumbnails(job, ids, report.LONGEST)
