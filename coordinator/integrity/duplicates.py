"""Verify what was found out about the duplicates of a job: neighbours, compared pairs, and decisions."""

from collections.abc import Iterator
from pathlib import Path

from coordinator.integrity.findings import Checked, Finding, Kind, inside, unread, without_advice
from shared.errors import CorruptFile
from shared.job.directory import JobDir
from shared.job.index.duplicates import compared, decided, neighbours, rejected


def duplicates_findings(job: JobDir, checked: Checked) -> Iterator[Finding]:
    """What is wrong with the files of neighbours, of pairs and of decisions.

    Raises OSError where the directory can't be listed.
    """
    kinds = (
        ("neighbours", neighbours.read_neighbours),
        ("asked", lambda path: compared.read_asked(job, path.stem.removeprefix("asked_"))),
        ("compared", _read_compared),
    )
    for kind, read in kinds:
        for path in job.duplicates_files(kind):
            try:
                checked.add(path)
                read(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                yield unread(job, path, error)
            except CorruptFile as error:
                remedy = "removed, and made anew by the next search for duplicates"
                yield Finding(inside(job, path), Kind.DAMAGE, without_advice(error), remedy, (path,))
    decisions = (
        (job.rejected_numbers, job.rejected, rejected.read_rejected),
        (job.decided_numbers, job.decided, decided.read_decided),
    )
    for numbers, path_of, read_all in decisions:
        try:
            for number in numbers():
                checked.add(path_of(number))
            read_all(job)
        except OSError as error:
            yield unread(job, job.duplicates_dir, error)
        except CorruptFile as error:
            yield Finding(inside(job, job.duplicates_dir), Kind.DAMAGE, f"{error} Repair can't make it anew.")


def _read_compared(path: Path) -> None:
    if not compared.is_of_another_version(path):
        compared.read_compared(path)
