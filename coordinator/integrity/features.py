"""Verify the features of a job: those of each sealed partition against their marker, and what is left over of them."""

from collections.abc import Iterator
from pathlib import Path

from coordinator.integrity.findings import Checked, Finding, Kind, inside, is_fresh, unread, without_advice
from coordinator.integrity.partitions import PartitionFindings
from shared.errors import CorruptFile
from shared.errors.remedy import Remedy
from shared.job.opened import OpenJob
from shared.job.partition import checkpoint, ledger
from shared.job.partition.features.files import FeatureRows
from shared.job.partition.features.marker import FeaturesSeal, read_features_seal
from shared.job.partition.features.record import STORED_VERSION
from shared.job.partition.features.wanted import wanted_features
from shared.storage import files
from shared.storage.stores import StorePath


def features_findings(job: OpenJob, partitions: PartitionFindings, checked: Checked) -> Iterator[Finding]:
    """What is wrong with the features of a job; partitions that lack theirs are no finding: the status counts them.

    Raises OSError where a directory can't be listed.
    """
    try:
        if wanted_features(job) is not None:
            checked.add(job.features_wanted)
    except CorruptFile as error:
        then = Remedy("index", str(job.path), "with {} asks for features again", given={"copies": "on"})
        remove = (job.features_wanted,)
        yield Finding(
            inside(job, remove[0]),
            Kind.DAMAGE,
            without_advice(error),
            "removed, as if none were wanted",
            remove,
            then=then,
        )
    except OSError as error:
        yield unread(job, job.features_wanted, error)
    for number in job.features_numbers():
        present = _present(job, number)
        if not present:
            continue
        if not job.holds(number):
            yield partitions.beyond(present[0], present, number)
            continue
        try:
            found = _judge(job, number, present, checked)
        except FileNotFoundError:
            continue  # Replaced or removed this moment.
        except OSError as error:
            found = unread(job, present[0], error)
        if found is not None:
            yield found


def _present(job: OpenJob, number: int) -> tuple[Path, ...]:
    """The files of a partition's features that are there, the marker first: a kill must not leave it alone."""
    return tuple(path for path in (job.features_seal(number), *job.features_files(number)) if path.exists())


def _judge(job: OpenJob, number: int, present: tuple[Path, ...], checked: Checked) -> Finding | None:
    name = inside(job, present[0])
    again = Remedy("index", str(job.path), "the next {} makes them again")
    try:
        marker = read_features_seal(job, number)
        if marker is not None:
            checked.add(job.features_seal(number))
    except CorruptFile as error:
        return Finding(name, Kind.DAMAGE, without_advice(error), "removed with what it marks", present, then=again)
    if not ledger.is_sealed(job, number):
        return _unsealed(job, number, name, present)
    if marker is None:
        wrong = "No marker says that these features are whole: what made them was killed, or is at work now."
        if any(is_fresh(path) for path in present):
            return Finding(name, Kind.LEFTOVER, f"{wrong} Repair leaves them until they are an hour old.")
        return Finding(name, Kind.LEFTOVER, wrong, "removed", present, then=again)
    try:
        if not marker.is_of(job, ledger.read_seal(job, number)):
            wrong = "These features are of other embeddings than those that are sealed now, and count for nothing."
            return Finding(name, Kind.LEFTOVER, wrong, "removed", present, then=again)
    except CorruptFile:
        return None  # The seal is a finding of its own.
    if wrong := _wrong(job, number, marker, checked):
        if read_features_seal(job, number) != marker:
            return None  # They were made anew meanwhile.
        return Finding(name, Kind.DAMAGE, wrong, "removed", present, then=again)
    if marker.version != STORED_VERSION:
        wrong = (
            f"These features are made as {marker.version!r}; this version makes {STORED_VERSION!r}, and reads no other."
        )
        then = Remedy("index", str(job.path), "with {} makes all of them anew", given={"copies": "on"})
        return Finding(name, Kind.LEFTOVER, wrong, then=then)
    return None


def _unsealed(job: OpenJob, number: int, name: str, present: tuple[Path, ...]) -> Finding | None:
    if job.retry(number).exists():
        return None  # They are kept for the seal to come.
    wrong = f"Partition {number} is not sealed, and its features count for nothing."
    if checkpoint.missing_chunks(job, job.partition(number)):
        return Finding(name, Kind.LEFTOVER, wrong, "removed", present)
    return Finding(name, Kind.LEFTOVER, f"{wrong} All its chunks are committed: the seal to come writes them anew.")


def _wrong(job: OpenJob, number: int, marker: FeaturesSeal, checked: Checked) -> str:
    """In what way the files are not those that the marker says; empty when they are."""
    for path in job.features_files(number):
        expected = marker.files[inside(job, path)]
        try:
            size = checked.add(path)
        except FileNotFoundError:
            return f"{inside(job, path)} is missing, though it is marked as whole."
        if size != expected["bytes"] or files.sha256_of(path) != expected["sha256"]:
            return f"{inside(job, path)} has another size or checksum than its marker says."
    table, data = job.features_files(number)
    if isinstance(table, StorePath):
        return ""  # Its checksum is right; it would have to be fetched to be mapped.
    try:
        rows = FeatureRows.open(table, data, marker.rows)
    except CorruptFile as error:
        return without_advice(error)
    lacking = int((rows.table["bytes"] == 0).sum())
    return (
        "" if lacking == marker.lacking else f"{lacking} images have no features, and the marker says {marker.lacking}."
    )
