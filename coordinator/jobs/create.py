"""Making a job: source -> paths and manifest, or the job that is already there, if it is the same one."""

import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from coordinator.jobs.lock import creation_lock
from coordinator.jobs.source.archives import ListedArchives
from coordinator.sources.choosing import EVERYTHING, Choice, choice_of
from coordinator.sources.listing import ListedImage, Listing, PathDigest, digested, no_images, partitions_of
from coordinator.sources.metadata.columns import MetadataColumns
from coordinator.sources.resolve import open_source
from shared.errors import JobMismatch, SourceError
from shared.errors.remedy import Remedy, left_out
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.manifest import Manifest, Partition, Source, load_manifest, write_manifest
from shared.job.source.moved import read_moved
from shared.models import DEFAULT_MODEL, REDUCED, ModelSpec, resolve_model
from shared.settings import Settings
from shared.storage import files

_REPORT_EVERY = 1_000
_ANOTHER = "name another JOB"


def make_or_open(
    source: str, job: JobDir, settings: Settings, listed: Callable[[int], None], choice: Choice = EVERYTHING
) -> Manifest:
    """The manifest of `job`: the one on disk if the job exists, else made from `source`.

    `listed` is told the number of paths while they are listed. `choice` is what was typed about the files of the
    source; a job that is there goes on with its own, unless another one was typed. Raises JobMismatch when the job on
    disk was made from another source, with another model or another choice, naming both; SourceError when there is
    nothing to list; JobBusy when another coordinator is making the same job.
    """
    if not job.spec.is_file():
        with creation_lock(job):
            if not job.spec.is_file():
                model = resolve_model(
                    settings.model or DEFAULT_MODEL,
                    settings.weights,
                    settings.precision or "f32",
                    settings.decode or REDUCED,
                )
                return _make(open_source(source, choice=choice), job, model, settings, listed, choice)
    manifest = load_manifest(job)
    _require_same(manifest, source, job, settings, choice)
    return manifest


def require_sizes(job: JobDir, manifest: Manifest, partition_size: int | None, chunk_size: int | None) -> None:
    """Raise JobMismatch when a size that was asked for is not the one the job was made with; None asks for none."""
    asked = (("partition", partition_size, manifest.partition_size), ("chunk", chunk_size, manifest.chunk_size))
    for what, size, made in asked:
        if size is not None and size != made:
            raise JobMismatch(
                f"{job.path} was made with {what}s of {made:,} images, not of {size:,}, and they are fixed, so that "
                "what is committed keeps its place",
                remedy=left_out(f"{what}_size", _ANOTHER),
            )


def accept_failures(job: JobDir, accepted: bool) -> None:
    """Say, or no longer say, to the workers of `job` that images which seem lost are to be failed rows."""
    if accepted:
        files.write_bytes(job.accepted_failures, b"A person said so: accept_failures.\n")
    elif job.accepted_failures.is_file():
        job.accepted_failures.unlink(missing_ok=True)


def _make(
    listing: Listing,
    job: JobDir,
    model: ModelSpec,
    settings: Settings,
    listed: Callable[[int], None],
    choice: Choice,
) -> Manifest:
    digest, known, archives = PathDigest(), MetadataColumns(), ListedArchives()
    # A kill during an earlier listing may have left path files of a longer list behind.
    remove_path_lists(job)
    images = _reported(archives.seen(digested(listing, digest)), listed)
    for partition, part in partitions_of(images, settings.partition_size):
        write_path_list(job, partition, part, known)
    if not digest.count:
        raise SourceError(no_images(listing.location, listing.left_out))
    archives.write(job)
    _keep_weights(job, model, settings)
    manifest = Manifest(
        source=Source(
            listing.kind,
            listing.location,
            digest.hexdigest(),
            dict(sorted(listing.left_out.items())),
            known=known.types,
            exclude=list(choice.exclude),
            include=list(choice.include),
            sniff=choice.sniff,
            notes=dict(sorted(listing.notes.items())),
        ),
        model=model,
        listed=digest.count,
        partition_size=settings.partition_size,
        chunk_size=settings.chunk_size or model.chunk_size,
        max_image_pixels=settings.max_image_pixels,
        max_image_bytes=settings.max_image_bytes,
        made_by=f"lookalike {version('lookalike')}",
    )
    return write_first(job, manifest)


def write_first(job: JobDir, manifest: Manifest) -> Manifest:
    """Write job.json and return what is there then: the manifest of another coordinator, if that was first.

    That can be where mounts know no locks, and of the two only one identity must reach the workers.
    """
    if not job.spec.is_file():
        write_manifest(job, manifest)
    return load_manifest(job)


def remove_path_lists(job: JobDir) -> None:
    """Remove the path lists of a job that is about to be made, and what was known of the files of its source."""
    # File by file: who types the name of a directory that is no job must not lose what lies in its `paths`.
    for number in job.paths_numbers():
        job.paths(number).unlink(missing_ok=True)
        files.remove_leftovers(job.paths(number))
    job.source_files.unlink(missing_ok=True)


def write_path_list(job: JobDir, partition: Partition, images: Sequence[ListedImage], known: MetadataColumns) -> None:
    """Write the path list of a partition, with what `known` learns of its images."""
    columns = known.arrays([image.known for image in images])
    path_list.write_paths(job, partition, [image.path for image in images], [image.member for image in images], columns)


def _reported(images: Iterator[ListedImage], listed: Callable[[int], None]) -> Iterator[ListedImage]:
    count = 0
    for count, image in enumerate(images, 1):
        if count % _REPORT_EVERY == 0:
            listed(count)
        yield image
    listed(count)


def _keep_weights(job: JobDir, model: ModelSpec, settings: Settings) -> None:
    """Copy weights that a person gave into the job: it must resume where only its directory has survived."""
    if model.weights != "file" or model.weights_file is None:
        return
    given = settings.weights or Path(settings.model or "")
    with files.written_aside(job.model_dir / model.weights_file) as aside:
        shutil.copyfile(os.path.expanduser(given), aside)


def _require_same(manifest: Manifest, source: str, job: JobDir, settings: Settings, choice: Choice) -> None:
    if manifest.model.is_imported:
        raise JobMismatch(
            f"{job.path} holds vectors that were imported from {manifest.source.location}, which can't be "
            "embedded as images are",
            remedy=Remedy("import", str(job.path), "go on with {}, or name another JOB for images"),
        )
    _require_same_choice(choice, choice_of(manifest.source), job)
    kind, location = manifest.source.kind, read_moved(job).now(manifest.source.location)
    try:
        listing = open_source(source)
    except SourceError as error:
        if location == manifest.source.location:
            raise
        raise SourceError(f"{error} The images of {job.path} moved to {location}.") from None
    if listing.kind != kind or (not listing.changes_in_place and listing.location != location):
        made = f"was made from the {kind} {manifest.source.location}"
        made += f", which moved to {location}" if location != manifest.source.location else ""
        moved = Remedy("option", does="if its images moved there, add {}", given={"moved": ""})
        raise JobMismatch(
            f"{job.path} {made}, not from the {listing.kind} {listing.location}: name another JOB for another source.",
            remedy=None if listing.changes_in_place or listing.kind != kind else moved,
        )
    if listing.changes_in_place:  # A list is read again in no time.
        digest = PathDigest()
        for _ in digest.feed(listing):
            pass
        if digest.hexdigest() != manifest.source.digest:
            raise JobMismatch(
                f"{job.path} was made from a {manifest.source.kind} of {manifest.listed:,} paths "
                f"({manifest.source.location}), and the one given now differs from it ({digest.count:,} paths): "
                "give the same list, or name another JOB."
            )
    if settings.precision not in (None, manifest.model.precision):
        raise JobMismatch(
            f"{job.path} was made in {manifest.model.precision}, not in {settings.precision}, and stays with what it "
            "was begun in",
            remedy=left_out("precision", _ANOTHER),
        )
    if settings.decode is not None and settings.decode != manifest.model.asked_decode:
        raise JobMismatch(
            f"The images of {job.path} are decoded in the mode {manifest.model.asked_decode}, not {settings.decode}, "
            "and embeddings of the two can't be compared",
            remedy=left_out("decode", _ANOTHER),
        )
    if settings.model is not None or settings.weights is not None:
        model, weights = settings.model or manifest.model.name, settings.weights
        kept = job.model_dir / (manifest.model.weights_file or "")
        # The job keeps a copy of weights that were given: the same command goes on where the original is gone.
        if weights is not None and _is_gone(weights, kept):
            weights = kept
        if model.endswith(".keras") and _is_gone(Path(model), kept):
            model = str(kept)
        asked = resolve_model(model, weights, manifest.model.precision, manifest.model.decode)
        if asked.fingerprint != manifest.model.fingerprint:
            raise JobMismatch(
                f"{job.path} was made with the model {manifest.model.fingerprint}, not with {asked.fingerprint}: "
                "embeddings of two models can't be compared.",
                remedy=Remedy("option", does=f"leave {{}} out to go on, or {_ANOTHER}", given={"model": ""}),
            )


def _require_same_choice(typed: Choice, made: Choice, job: JobDir) -> None:
    for option, asked, kept in (
        ("exclude", typed.exclude, made.exclude),
        ("include", typed.include, made.include),
    ):
        if asked and asked != kept:
            raise JobMismatch(
                f"The images of {job.path} were listed with {_said(option, kept)}, not with {_said(option, asked)}, "
                "and stay as they were listed",
                remedy=left_out(option, _ANOTHER),
            )

    if typed.sniff and not made.sniff:
        raise JobMismatch(
            f"The images of {job.path} were listed without a look into files without suffix, and stay as they were "
            "listed",
            remedy=left_out("sniff", _ANOTHER),
        )


def _said(option: str, patterns: Sequence[str]) -> str:
    return " ".join(f"{option} {shlex.quote(pattern)}" for pattern in patterns) or f"no {option}"


def _is_gone(given: Path, kept: Path) -> bool:
    return given.name == kept.name and kept.is_file() and not os.path.exists(os.path.expanduser(given))
