"""Verify the images that a job holds itself: each against the SHA-256 that it is named by."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from coordinator.integrity.findings import Checked, Finding, Kind, inside, is_fresh, unread
from shared.errors import CorruptFile
from shared.job.opened import OpenJob
from shared.job.source.stored import stored_images
from shared.storage import files

_LOST = "Its embedding is whole and it is found, but it can't be shown, or embedded again: restore it from a copy."


def stored_findings(job: OpenJob, checked: Checked) -> Iterator[Finding]:
    """What is wrong with images that were added as bytes, and those that no path list names.

    Raises OSError where a directory can't be listed.
    """
    listed = dict(_listed(job))
    there = set()
    for digest, path in job.added_files():
        there.add(path)
        try:
            if path in listed:
                checked.add(path)
                if files.sha256_of(path) != digest:
                    wrong = f"The image has not the SHA-256 that it is named by. {_LOST}"
                    yield Finding(inside(job, path), Kind.DAMAGE, wrong)
            elif is_fresh(path):
                wrong = "No image is listed there: it is being added, or what added it was killed: repair leaves it "
                yield Finding(inside(job, path), Kind.LEFTOVER, f"{wrong}until it is an hour old.")
            else:
                wrong = "No image is listed there: what added it was killed."
                yield Finding(inside(job, path), Kind.LEFTOVER, wrong, "removed", (path, path.parent), alone=True)
        except FileNotFoundError:
            there.discard(path)
        except OSError as error:
            yield unread(job, path, error)
    for path, image_id in listed.items():
        if path not in there and not job.state.is_removed(image_id):
            wrong = f"The image {image_id:,}, which the job holds itself, is missing. {_LOST}"
            yield Finding(inside(job, path), Kind.DAMAGE, wrong)


def _listed(job: OpenJob) -> Iterator[tuple[Path, int]]:
    """The places of the images that the job holds itself, each with its id."""
    for partition in job.partitions:
        with suppress(CorruptFile):  # It is a finding of its own.
            yield from stored_images(job, partition)
