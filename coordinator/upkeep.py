"""The commands that look after a job directory: `lookalike verify` and `lookalike repair`."""

from typing import Annotated

import typer

from coordinator import report, terminal
from coordinator.findings import Checked
from coordinator.repair import repair as repaired
from coordinator.terminal import Job, Json, out
from coordinator.verify import verify as verified
from shared.jobdir import JobDir


def verify(job: Job, as_json: Json = False) -> None:
    """Check every file of JOB against its checksums, and say in a sentence each what is wrong; nothing is changed."""
    directory, checked = JobDir.at(job), Checked()
    found = []
    with terminal.checking(checked) as say:
        for finding in verified(directory, checked):
            if as_json:
                found.append(finding)
            else:
                say(f"{finding.path}: {finding.sentence}")
    if as_json:
        terminal.show_json(report.verify_json(str(directory.path), checked, found))
    else:
        out.print(report.verdict_line(checked, str(directory.path)))
    if not checked.whole:
        raise SystemExit(1)


def repair(
    job: Job,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
) -> None:
    """Take back what is damaged in JOB and remove what killed processes left; the next `index` does it again."""
    directory, checked = JobDir.at(job), Checked()
    mended = left = bad = 0
    with terminal.checking(checked) as say:
        for outcome in repaired(directory, checked, dry_run=dry_run):
            mended, left = mended + outcome.mended, left + (not outcome.mended)
            bad += outcome.finding.bad and not outcome.mended
            say(f"{outcome.finding.path}: {outcome.sentence}")
    out.print(report.repaired_line(mended, left, checked, str(directory.path), dry_run=dry_run))
    if bad:
        raise SystemExit(1)
