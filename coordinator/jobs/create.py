"""Create a job from a source, as path lists and manifest, or open the existing job if it is the same one."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from coordinator.jobs.source.archives import ListedArchives
from coordinator.jobs.source.same import as_begun, require_same
from coordinator.local import fusion_trial
from coordinator.local.model_trial import asked_model, tried
from coordinator.sources.begun import is_other
from coordinator.sources.choosing import EVERYTHING, Choice
from coordinator.sources.listing import ListedImage, Listing, PathDigest, digested, no_images, partitions_of
from coordinator.sources.metadata.columns import MetadataColumns
from coordinator.sources.resolve import open_source
from shared.errors import ModelError, SourceError
from shared.images.paths import expanded
from shared.job import path_list
from shared.job.bundle.facts import refuse_bundle
from shared.job.changes.lock import creation_lock
from shared.job.directory import JobDir
from shared.job.manifest import Manifest, Partition, Source, write_manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition.features.wanted import want_features
from shared.models import ModelSpec, weights_sha256
from shared.models.onnx.one_file import one_file
from shared.settings import ON, Settings
from shared.storage import files

_REPORT_EVERY = 1_000


def make_or_open(
    source: str,
    job: JobDir,
    settings: Settings,
    listed: Callable[[int], None],
    choice: Choice = EVERYTHING,
    *,
    frozen: bool | None = None,
    stdin: BinaryIO | None = None,
    told: Callable[[str], None] = lambda what: None,
) -> OpenJob:
    """Open `job` if it exists, else make it from `source`.

    `listed` is told the number of paths while they are listed. `choice` is what was typed about the files of the
    source; a job that is there continues with its own, unless another one was typed. `frozen` says whether a job that
    is made is never to take up what comes to its source, None where that was not typed; `stdin` is where a list on
    standard input is read. `told` gets what is done beside listing, where that takes its time. Raises JobMismatch when
    the job on disk was made from another source, with another model or another choice, naming both; SourceError when
    there is nothing to list; JobBusy when another coordinator is making the same job; ModelError when the model that is
    asked for can't be had, or not as it is asked for.
    """
    if not job.spec.is_file():
        with creation_lock(job):
            if not job.spec.is_file():
                model = asked_model(settings)
                if settings.fusion == ON:
                    fusion_trial.refuse_without_levels(model)
                listing = open_source(source, stdin, choice)
                model = tried(model, settings)
                return _make(listing, job, model, settings, listed, choice, told, frozen=bool(frozen))
    opened = open_job(job)
    refuse_bundle(opened.path, opened.manifest.bundle, "indexed")
    require_same(source, opened, settings, choice, frozen, stdin)
    return opened


def require_sizes(job: OpenJob, partition_size: int | None, chunk_size: int | None) -> None:
    """Raise JobMismatch when a size that was asked for is not the one the job was made with; None asks for none."""
    manifest = job.manifest
    sizes = (
        ("partition_size", partition_size, manifest.partition_size),
        ("chunk_size", chunk_size, manifest.chunk_size),
    )
    for option, asked, made in sizes:
        if is_other(asked, made):
            raise as_begun(job).stays(
                option,
                f"{job.path} was made with {option.removesuffix('_size')}s of {made:,} images, not of {asked:,}, and "
                "they are fixed, so that what is committed keeps its place",
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
    told: Callable[[str], None],
    *,
    frozen: bool,
) -> OpenJob:
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
    fusion = None
    if settings.fusion == ON:
        model, fusion = fusion_trial.fused(model, job, digest.count, settings, told)
    if settings.copies == ON:
        want_features(job)
    else:
        job.features_wanted.unlink(missing_ok=True)  # What was killed before there was a job may have wanted them.
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
        frozen=frozen,
        fusion=fusion,
    )
    return write_first(job, manifest)


def write_first(job: JobDir, manifest: Manifest) -> OpenJob:
    """Write job.json and open what is there then: the job of another coordinator, if that was first.

    That can be where mounts know no locks, and of the two only one identity must reach the workers.
    """
    if not job.spec.is_file():
        write_manifest(job, manifest)
    return open_job(job)


def remove_path_lists(job: JobDir) -> None:
    """Remove the path lists of a job that is about to be made, and what was known of the files of its source."""
    # File by file: who types the name of a directory that is no job must not lose what is in its `paths`.
    for number in job.paths_numbers():
        job.paths(number).unlink(missing_ok=True)
        files.remove_leftovers(job.paths(number))
    job.source_files.unlink(missing_ok=True)


def write_path_list(job: JobDir, partition: Partition, images: Sequence[ListedImage], known: MetadataColumns) -> None:
    """Write the path list of a partition, with what `known` says, or learns, of its images."""
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
        if model.is_onnx:
            with open(aside, "wb") as whole:
                whole.writelines(one_file(expanded(given)))
        else:
            shutil.copyfile(os.path.expanduser(given), aside)
        if weights_sha256(aside) != model.weights_sha256:
            raise ModelError(f"{given} changed while it was copied into {job.path}: try again when it is whole.")
