"""The commands `lookalike verify`, `lookalike repair` and `lookalike rollback`, which maintain a job directory."""

from typing import Annotated

import typer

from coordinator.commands.options import Job, Json
from coordinator.display import integrity, terminal
from coordinator.display.remedies import command
from coordinator.display.terminal import out
from coordinator.integrity.findings import Checked
from coordinator.integrity.repair import repair as repaired
from coordinator.integrity.verify import verify as verified
from coordinator.jobs.rollback import rollback as rolled_back
from shared.errors.remedy import with_remedy
from shared.job.directory import JobDir
from shared.job.manifest import maker_of


def verify(job: Job, as_json: Json = False) -> None:
    """Check every file of JOB against its checksums, and name each problem in a sentence; nothing is changed."""
    directory, checked = JobDir.at(job), Checked()
    found = []
    with terminal.checking(checked) as say:
        for finding in verified(directory, checked):
            if as_json:
                found.append(finding)
            else:
                say(f"{finding.path}: {with_remedy(finding.wrong, finding.mends, command)}")
    if as_json:
        terminal.show_json(integrity.verify_json(str(directory.path), checked, found))
    else:
        out.print(integrity.verdict_line(checked, str(directory.path)))
    if not checked.whole:
        raise SystemExit(1)


def repair(
    job: Job,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
) -> None:
    """Remove what is damaged in JOB and what killed processes left; the next `index` does that work again."""
    directory, checked = JobDir.at(job), Checked()
    mended = left = bad = 0
    with terminal.checking(checked) as say:
        for outcome in repaired(directory, checked, dry_run=dry_run):
            mended, left = mended + outcome.mended, left + (not outcome.mended)
            bad += outcome.finding.bad and not outcome.mended
            say(f"{outcome.finding.path}: {with_remedy(outcome.done, outcome.then, command)}")
    line = integrity.repaired_line(
        mended, left, checked, str(directory.path), dry_run=dry_run, maker=maker_of(directory)
    )
    out.print(line)
    if bad:
        raise SystemExit(1)


def rollback(
    job: Job,
    build: Annotated[
        str | None,
        typer.Argument(metavar="BUILD", help="Which to promote, such as 0001-ab12cd34; left out: the one before."),
    ] = None,
) -> None:
    """Promote an earlier build of JOB's index, or forget an index that was asked for, built and found worse."""
    directory = JobDir.at(job)
    done = rolled_back(directory, build)
    now = done.now
    what = f"{now.build} ({now.type}, {now.recall_text}, {now.p50_ms:.2f} ms)"
    if done.forgotten:
        out.print(f"{what} goes on serving; {done.forgotten} is not asked for any more")
    elif done.before == now.build:
        out.print(f"{what} serves already")
    else:
        out.print(f"{what} serves now, in place of {done.before}")
