"""Whether a job that is there is the one that was asked for: its source, what was chosen of it, and its model."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from coordinator.jobs.source.keys import PathKeys, keys_of
from coordinator.sources.begun import Begun, chosen, is_other, patterns_text
from coordinator.sources.choosing import Choice
from coordinator.sources.listing import Listing, PathDigest
from coordinator.sources.resolve import open_source
from shared.errors import JobMismatch, SourceError
from shared.errors.remedy import Remedy
from shared.images.paths import expanded
from shared.job import path_list
from shared.job.opened import OpenJob
from shared.job.partition.features.wanted import makes_features
from shared.job.source.moved import read_moved
from shared.models import MODEL_FILES, resolve_model, weights_sha256
from shared.settings import OFF, ON, Settings
from shared.storage.stores import any_path


def as_begun(job: OpenJob, number: int = 0) -> Begun:
    """The job, as made from one of its sources, as the errors say it that refuse to continue with it."""
    source = job.sources[number]
    now = read_moved(job).now(source.location)
    added = Remedy("option", does="to have it in this job too, add {}", given={"add": ""})
    adds = None if job.manifest.frozen or job.manifest.model.is_imported else added
    return Begun(
        path=str(job.path),
        made="was made",
        of="from",
        another="name another JOB",
        error=JobMismatch,
        source=source,
        listed=job.listed,
        moved_to=None if now == source.location else now,
        moves=Remedy("option", does="if its images moved there, add {}", given={"moved": ""}, otherwise=adds),
        adds=adds,
    )


def source_meant(given: Listing, job: OpenJob, *, exactly: bool = False) -> int | None:
    """The number of the source of a job that `given` is, of the same kind and at the same place; None if it is none.

    Unless it has to be there `exactly`, a list is that of the job, wherever it is, where the job has one list alone.
    """
    moved = read_moved(job)
    alike = [number for number, source in enumerate(job.sources) if source.kind == given.kind]
    for number in alike:
        if moved.now(job.sources[number].location) == given.location:
            return number
    return alike[0] if given.changes_in_place and len(alike) == 1 and not exactly else None


def require_addable(job: OpenJob, given: Listing) -> None:
    """Raise JobMismatch unless a source can be added to a job, and `given` is none that it has."""
    require_images(job)
    if job.manifest.frozen:
        raise JobMismatch(
            f"{job.path} was made as a job that takes up nothing, and no source can be added to it: make another JOB "
            f"of {given.location}."
        )
    if source_meant(given, job, exactly=True) is not None:
        what = "a list on standard input" if given.kind == "stdin" else f"the {given.kind} {given.location}"
        save = ": save the list as a file, and add that." if given.kind == "stdin" else "."
        raise JobMismatch(f"{job.path} has {what} as a source already, and it is not added again{save}")


def require_images(job: OpenJob) -> None:
    """Raise JobMismatch for a job of imported vectors."""
    if job.manifest.model.is_imported:
        raise JobMismatch(
            f"{job.path} holds vectors that were imported from {job.manifest.source.location}, which can't be "
            "embedded as images are",
            remedy=Remedy("import", str(job.path), "go on with {}, or name another JOB for images"),
        )


def require_same(
    source: str, job: OpenJob, settings: Settings, choice: Choice, frozen: bool | None, stdin: BinaryIO | None
) -> None:
    """Raise JobMismatch unless `source` is one of a job's, of this choice, and the job one of this model, naming both.

    A list may differ from the one that the job was made of, as long as they have a path in common; that of a frozen job
    may not.
    """
    require_images(job)
    try:
        given = open_source(source, stdin)
    except SourceError as error:
        if (moved_to := as_begun(job).moved_to) is None or len(job.sources) > 1:
            raise
        raise SourceError(f"{error} The images of {job.path} moved to {moved_to}.") from None
    number = source_meant(given, job)
    if number is None and len(job.sources) > 1:
        raise _none_of_them(job, given)
    begun = as_begun(job, number or 0)
    for option, asked, kept in chosen(choice, begun.source):
        if is_other(asked, kept):
            raise begun.stays(
                option,
                f"The images of {job.path} were listed {_chosen_otherwise(option, asked, kept)}, and stay as they were "
                "listed",
            )
    if given.changes_in_place and number is not None and not job.manifest.frozen:
        _require_shared(given, job, number, begun)
    else:
        begun.require_source(given)
    require_same_options(job, settings, frozen)


def require_same_options(job: OpenJob, settings: Settings, frozen: bool | None) -> None:
    """Raise JobMismatch unless a job is one of images, of this model, and frozen if that is asked, naming both.

    One that stores features goes on with them; one that does not may be asked to.
    """
    require_images(job)
    begun, made = as_begun(job), job.manifest.model
    if is_other(frozen, job.manifest.frozen):
        raise begun.stays("frozen", f"{job.path} was not made as a job that takes up nothing, and stays so")
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
    if settings.fusion == ON and job.manifest.fusion is None:
        raise begun.stays("fusion", f"{job.path} was made without fusion, and embeddings of the two can't be compared")
    if settings.fusion == OFF and made.fusion is not None:
        raise begun.stays("fusion", f"{job.path} was made with fusion, and embeddings of the two can't be compared")
    if settings.copies != ON and makes_features(job) and settings.copies == OFF:  # It may want another version.
        raise begun.stays("copies", f"{job.path} stores what tells copies apart beside its embeddings, and keeps it")
    if any((settings.model, settings.weights, settings.model_input, settings.model_output)):
        _require_same_model(job, begun, settings)


def _none_of_them(job: OpenJob, given: Listing) -> JobMismatch:
    """The error of a source that is none of several; of a list, also where none at its place says which one it is."""
    moved = read_moved(job)
    have = ", ".join(f"the {source.kind} {moved.now(source.location)}" for source in job.sources)
    return JobMismatch(
        f"{job.path} has the sources {have}, and the {given.kind} {given.location} is none of them: name one of these, "
        "or another JOB",
        remedy=as_begun(job).moves if any(source.kind == given.kind for source in job.sources) else as_begun(job).adds,
    )


def _require_shared(given: Listing, job: OpenJob, number: int, begun: Begun) -> None:
    """Raise JobMismatch when a list has no path in common with the job: it is another one, and none that changed."""
    digest = PathDigest()
    named = PathKeys(keys_of(digest.feed(given)))
    if digest.hexdigest() == begun.source.digest:
        return
    moved = read_moved(job)
    at_its_place = moved.now(begun.source.location) == given.location
    for partition in job.partitions:
        paths = path_list.read_paths(job, partition)
        # Removed ones count as well: all that the list named may have been deleted since.
        ids = np.arange(partition.start, partition.stop)
        # What it names may be in other sources by now. A list elsewhere is known by its own images alone.
        listed = (ids if at_its_place else ids[job.state.are_of(ids, number)]).tolist()
        if any(moved.now(paths[image_id - partition.start]) in named for image_id in listed):
            return
    raise JobMismatch(
        f"{job.path} was made from a {given.kind} of {_listed_of(job, number):,} paths ({begun.source.location}), and "
        f"the one given now ({digest.count:,} paths) has none of them: give that list, as it is now, or "
        f"{begun.another}."
    )


def _listed_of(job: OpenJob, number: int) -> int:
    """How many images a source gave when it was listed first."""
    if not number:
        return job.manifest.listed
    added = job.state.added[number - 1]
    return added.stop - added.start


def _chosen_otherwise(option: str, asked: Any, kept: Any) -> str:
    if option == "sniff":
        return "without a look into files without suffix"
    made, typed = (patterns_text(option, patterns) or f"no {option}" for patterns in (kept, asked))
    return f"with {made}, not with {typed}"


def _require_same_model(job: OpenJob, begun: Begun, settings: Settings) -> None:
    made = job.manifest.model
    kept = job.model_dir / (made.weights_file or "")
    model, weights = settings.model or (str(kept) if made.is_onnx else made.name), settings.weights
    # The job keeps a copy of weights that were given: the same command continues where the original is gone.
    if weights is not None and _is_gone(weights, kept):
        weights = kept
    if model.endswith(MODEL_FILES) and _is_gone(Path(model), kept):
        model = str(kept)
    words = (settings.model_input, settings.model_output)
    if made.is_onnx and model.endswith(".onnx"):
        _require_same_file(job, begun, model)
        words = (words[0] or made.input, words[1] or made.output)
    # How its features are fused was found for this job alone, whatever is typed.
    asked = replace(resolve_model(model, weights, made.precision, made.decode, *words), fusion=made.fusion)
    if asked.fingerprint != made.fingerprint:
        one, other = made.fingerprint, asked.fingerprint
        if made.is_onnx and asked.is_onnx:  # Of the same file.
            one, other = (f"{spec.fingerprint} ({spec.input}; {spec.output})" for spec in (made, asked))
        typed = {name: "" for name in ("model", "model_input", "model_output") if getattr(settings, name)}
        raise _another_model(f"{job.path} was made with the model {one}, not with {other}", begun, typed)


def _require_same_file(job: OpenJob, begun: Begun, model: str) -> None:
    """Raise JobMismatch for another ONNX file than the job's, also if it can't be the model of any job."""
    made = job.manifest.model
    if weights_sha256(expanded(any_path(model))) != made.weights_sha256:
        found = f"{job.path} was made with the model {made.fingerprint}, of {made.weights_file}, and {model} is another"
        raise _another_model(found, begun, {"model": ""})


def _another_model(found: str, begun: Begun, typed: dict[str, str]) -> JobMismatch:
    return JobMismatch(
        f"{found}: embeddings of two models can't be compared.",
        remedy=Remedy("option", does=f"leave {{}} out to go on, or {begun.another}", given=typed or {"model": ""}),
    )


def _is_gone(given: Path, kept: Path) -> bool:
    return given.name == kept.name and kept.is_file() and not os.path.exists(os.path.expanduser(given))
