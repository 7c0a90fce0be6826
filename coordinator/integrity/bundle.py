"""Verify the files of a bundle against the checksums in its job.json."""

from collections.abc import Iterator

from coordinator.integrity.findings import Checked, Finding, Kind, inside, unread
from shared.job.bundle.facts import Bundle
from shared.job.directory import JobDir
from shared.storage import files

_ANEW = "Copy the bundle anew, or export the job again."


def bundle_findings(job: JobDir, bundle: Bundle, checked: Checked) -> Iterator[Finding]:
    """The files of a bundle that are missing, are not what was exported, or were not exported. Repair mends none."""
    for name, expected in bundle.files.items():
        path = job.path / name
        try:
            size = checked.add(path)
            if size != expected["bytes"]:
                wrong = f"It has {size:,} bytes, and job.json says {expected['bytes']:,}."
            elif files.sha256_of(path) != expected["sha256"]:
                wrong = "It has another checksum than job.json says."
            else:
                continue
        except (FileNotFoundError, NotADirectoryError):
            wrong = "It is missing."
        except OSError as error:
            yield unread(job, path, error)
            continue
        yield Finding(name, Kind.DAMAGE, f"{wrong} {_ANEW}")
    for path, ours in job.files():
        name = inside(job, path)
        # What was being written aside is a finding of every job.
        if ours and name not in bundle.files and path != job.spec and path.suffix != files.TEMPORARY_SUFFIX:
            yield Finding(name, Kind.LEFTOVER, "It is none of the files that were exported; it may be removed.")
