"""Count what came to the source of a frozen job, or went, since it was listed."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from coordinator.jobs.source.keys import keys_of
from coordinator.sources.archives import images_in_all
from coordinator.sources.choosing import Sieve, choice_of
from coordinator.sources.folders import walk
from coordinator.sources.gathering import place_below
from coordinator.sources.resolve import open_source
from shared.errors import SourceError
from shared.images.paths import ARCHIVE_SUFFIXES, is_url, split_member, to_os_path
from shared.job import path_list
from shared.job.manifest import Manifest
from shared.job.opened import OpenJob
from shared.job.source.files import FileState, difference
from shared.job.source.moved import Moved, read_moved

_NAMED = 3


def since_listed(source: str, job: OpenJob) -> list[str]:
    """Lines that say how many images or archives came or went, or changed, and what to type; none where nothing did.

    A folder is listed again, in 8 bytes of memory an image, its archives by their names alone; an archive is compared
    with what the job keeps of it. What a list names is the list's, and what is behind a URL costs too much: neither is
    looked at. Raises SourceError when the folder can't be listed, CorruptFile when a path list can't be read.
    """
    manifest = job.manifest
    moved = read_moved(job)
    location = moved.now(manifest.source.location)
    if is_url(location) or manifest.model.is_imported:
        return []
    archives = {moved.now(path): state for path, state in job.archives().items() if not is_url(path)}
    said = []
    if archives:
        came, went = _archives(manifest, location, archives)
        said += _counted(came, went, "archive", location)
        changed = [f"{path} changed: {found}" for path, state in archives.items() if (found := difference(path, state))]
        said += [f"{line}." for line in changed[:_NAMED]]
        if len(changed) > _NAMED:
            said.append(f"So did {len(changed) - _NAMED:,} more.")
    if manifest.source.kind in ("folder", "glob"):
        said += _counted(*_images(source, job, moved), "image", location)
    if said:
        typed = f"lookalike index {shlex.quote(source)} NEW-JOB"
        said.append(f"This job holds what was listed when it was made. A job of what is there now:  {typed}")
    return said


def _counted(came: int, went: int, what: str, location: str) -> list[str]:
    """The line that says both counts; none for none."""
    if not came and not went:
        return []
    plural = "" if came == 1 else "s"
    return [f"{location} has {came:,} {what}{plural} that this job does not hold, and lacks {went:,} that it holds."]


def _archives(manifest: Manifest, location: str, listed: dict[str, FileState]) -> tuple[int, int]:
    """How many archives of a folder came, and how many of any source went."""
    went = sum(not os.path.lexists(to_os_path(path)) for path in listed)
    if manifest.source.kind != "folder":
        return 0, went
    sieve = Sieve(replace(choice_of(manifest.source), sniff=False), texts=False)
    root = to_os_path(location)
    new = [path for path, _ in walk(os.fsencode(root), sieve, ARCHIVE_SUFFIXES) if path not in listed]
    # One without images was not listed either; the first image tells.
    places = [(path, place_below(root, to_os_path(path))) for path in new]
    return sum(next(images_in_all([one], sieve), None) is not None for one in places), went


def _images(source: str, job: OpenJob, moved: Moved) -> tuple[int, int]:
    """How many images came to a folder or a glob, and how many went."""
    choice = choice_of(job.manifest.source)
    there = np.unique(keys_of(open_source(source, choice=choice, texts=False, archives=False)))
    held = np.zeros(len(there), bool)
    went = 0
    for partition in job.partitions:
        paths = (path for path in path_list.read_paths(job, partition) if path and split_member(path) is None)
        listed = [moved.now(path) for path in paths]
        keys = keys_of(listed)
        places = np.searchsorted(there, keys)
        known = np.zeros(len(keys), bool)
        inside = places < len(there)
        known[inside] = there[places[inside]] == keys[inside]
        held[places[known]] = True
        went += _gone(listed, known)
    return int((~held).sum()), went


def _gone(listed: Sequence[str], known: NDArray[np.bool_]) -> int:
    """How many of those that are not listed now are not there either: what is listed may differ between versions."""
    return sum(not os.path.lexists(to_os_path(listed[place])) for place in np.flatnonzero(~known).tolist())


def told_since_listed(source: str, job: OpenJob) -> list[str]:
    """`since_listed`, or the line that says why that is not known: the job itself is well."""
    try:
        return since_listed(source, job)
    except SourceError as error:
        return [f"What came or went since the images were listed is not known: {error}"]
