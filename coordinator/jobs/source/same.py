"""Whether a job that is there is the one that was asked for: its source, what was chosen of it, and its model."""

import os
from pathlib import Path
from typing import Any, BinaryIO

from coordinator.jobs.source.keys import PathKeys, keys_of
from coordinator.sources.begun import Begun, chosen, is_other, patterns_text
from coordinator.sources.choosing import Choice
from coordinator.sources.listing import Listing, PathDigest
from coordinator.sources.resolve import open_source
from shared.errors import JobMismatch, SourceError
from shared.errors.remedy import Remedy
from shared.job import path_list
from shared.job.opened import OpenJob
from shared.job.source.moved import read_moved
from shared.models import resolve_model
from shared.settings import Settings


def as_begun(job: OpenJob) -> Begun:
    """The job as the errors say it that refuse to continue with it."""
    source = job.manifest.source
    now = read_moved(job).now(source.location)
    moves = Remedy("option", does="if its images moved there, add {}", given={"moved": ""})
    return Begun(
        path=str(job.path),
        made="was made",
        of="from",
        another="name another JOB",
        error=JobMismatch,
        source=source,
        listed=job.listed,
        moved_to=None if now == source.location else now,
        moves=moves,
    )


def require_same(
    source: str, job: OpenJob, settings: Settings, choice: Choice, frozen: bool | None, stdin: BinaryIO | None
) -> None:
    """Raise JobMismatch unless a job is the one of `source`, of this choice and model, naming both.

    A list may differ from the one that the job was made of, as long as they have a path in common; that of a frozen job
    may not.
    """
    made = job.manifest.model
    if made.is_imported:
        raise JobMismatch(
            f"{job.path} holds vectors that were imported from {job.manifest.source.location}, which can't be "
            "embedded as images are",
            remedy=Remedy("import", str(job.path), "go on with {}, or name another JOB for images"),
        )
    begun = as_begun(job)
    for option, asked, kept in chosen(choice, begun.source):
        if is_other(asked, kept):
            raise begun.stays(
                option,
                f"The images of {job.path} were listed {_chosen_otherwise(option, asked, kept)}, and stay as they were "
                "listed",
            )
    try:
        given = open_source(source, stdin)
    except SourceError as error:
        if begun.moved_to is None:
            raise
        raise SourceError(f"{error} The images of {job.path} moved to {begun.moved_to}.") from None
    if is_other(frozen, job.manifest.frozen):
        raise begun.stays("frozen", f"{job.path} was not made as a job that takes up nothing, and stays so")
    if given.changes_in_place and given.kind == begun.source.kind and not job.manifest.frozen:
        _require_shared(given, job, begun)
    else:
        begun.require_source(given)
    if is_other(settings.precision, made.precision):
        raise begun.stays(
            "precision",
            f"{job.path} was made in {made.precision}, not in {settings.precision}, and stays with what it was begun "
            "in",
        )
    if is_other(settings.decode, made.asked_decode):
        raise begun.stays(
            "decode",
            f"The images of {job.path} are decoded in the mode {made.asked_decode}, not {settings.decode}, and "
            "embeddings of the two can't be compared",
        )
    if settings.model is not None or settings.weights is not None:
        _require_same_model(job, begun, settings)


def _require_shared(given: Listing, job: OpenJob, begun: Begun) -> None:
    """Raise JobMismatch when a list has no path in common with the job: it is another one, and none that changed."""
    digest = PathDigest()
    named = PathKeys(keys_of(digest.feed(given)))
    if digest.hexdigest() == begun.source.digest:
        return
    moved = read_moved(job)
    for partition in job.partitions:
        if any(moved.now(path) in named for path in path_list.read_paths(job, partition)):
            return
    raise JobMismatch(
        f"{job.path} was made from a {given.kind} of {job.manifest.listed:,} paths ({begun.source.location}), and the "
        f"one given now ({digest.count:,} paths) has none of them: give that list, as it is now, or {begun.another}."
    )


def _chosen_otherwise(option: str, asked: Any, kept: Any) -> str:
    if option == "sniff":
        return "without a look into files without suffix"
    made, typed = (patterns_text(option, patterns) or f"no {option}" for patterns in (kept, asked))
    return f"with {made}, not with {typed}"


def _require_same_model(job: OpenJob, begun: Begun, settings: Settings) -> None:
    made = job.manifest.model
    model, weights = settings.model or made.name, settings.weights
    kept = job.model_dir / (made.weights_file or "")
    # The job keeps a copy of weights that were given: the same command continues where the original is gone.
    if weights is not None and _is_gone(weights, kept):
        weights = kept
    if model.endswith(".keras") and _is_gone(Path(model), kept):
        model = str(kept)
    asked = resolve_model(model, weights, made.precision, made.decode)
    if asked.fingerprint != made.fingerprint:
        raise JobMismatch(
            f"{job.path} was made with the model {made.fingerprint}, not with {asked.fingerprint}: "
            "embeddings of two models can't be compared.",
            remedy=Remedy("option", does=f"leave {{}} out to go on, or {begun.another}", given={"model": ""}),
        )


def _is_gone(given: Path, kept: Path) -> bool:
    return given.name == kept.name and kept.is_file() and not os.path.exists(os.path.expanduser(given))
