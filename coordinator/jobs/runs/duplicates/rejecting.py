"""Reject pairs of images as duplicates, named one by one or in a file, so that they are not shown again."""

from collections.abc import Sequence
from pathlib import Path

from shared.errors import UsageError
from shared.images.paths import expanded
from shared.job.bundle.facts import refuse_bundle
from shared.job.index.duplicates import rejected
from shared.job.opened import OpenJob


def sets_in(path: Path) -> list[list[int]]:
    """The sets of image ids in a text file, one a line, its ids divided by spaces or commas.

    Raises UsageError for a file that can't be read, or a line that is something else.
    """
    try:
        lines = expanded(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The pairs in {path} can't be read: {error}.") from None
    return [
        image_ids(words, f"line {number} of {path}")
        for number, line in enumerate(lines, start=1)
        if (words := line.replace(",", " ").split())
    ]


def image_ids(words: Sequence[str], where: str) -> list[int]:
    """The ids of at least two images that are no duplicates of each other; UsageError for anything else."""
    if not all(word.isascii() and word.isdigit() for word in words) or len(set(words)) < 2:
        raise UsageError(
            f"{where} is {' '.join(words)[:80]!r}; expected the ids of two or more images that are no duplicates of "
            "each other, as the groups show them."
        )
    return [int(word) for word in words]


def reject(job: OpenJob, sets: Sequence[Sequence[int]]) -> int:
    """Remember that no two images of a set are duplicates; returns how many pairs that are which were not known.

    Raises UsageError for an id that the job never gave, and as `rejected.reject`.
    """
    refuse_bundle(job.path, job.manifest.bundle, "changed")
    strange = sorted({image for images in sets for image in images if image >= job.listed})
    if strange:
        raise UsageError(f"The job has the image ids 0 to {job.listed - 1}, not {strange[0]}: nothing was rejected.")
    return len(rejected.reject(job, rejected.pairs_of(sets)))
