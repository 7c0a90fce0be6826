"""Find the images of a job that are named by id or path, and say what the job knows of one."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc

from coordinator.client.stored_query import is_image_id, require_image_id
from shared.errors import QueryError
from shared.images.paths import absolute
from shared.job import path_list
from shared.job.changes.log import removal_of
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.job.source.moved import read_moved
from shared.storage.parquet import read_table


def find_image(job: OpenJob, image: str) -> int:
    """The id of an image; `image` is its id, its path, or what that was before the source moved.

    Where several images have one path, the first that was not removed is meant. Raises QueryError when the job lists no
    such image, CorruptFile when a path list is damaged.
    """
    return find_images(job, [image])[0]


def find_images(job: OpenJob, images: Sequence[str]) -> list[int]:
    """The id of each of `images`, as `find_image` gives it; the path lists are read once for all of them."""
    ids = _by_path(job, [image for image in images if not is_image_id(image)])
    return [require_image_id(job, image) if is_image_id(image) else ids[image] for image in images]


def _by_path(job: OpenJob, images: Iterable[str]) -> dict[str, int]:
    moved = read_moved(job)
    # What hits say now comes first: the old and the new place may be in each other.
    wanted = {}
    for image in images:
        typed = (image, absolute(image))
        wanted[image] = list(dict.fromkeys((frozenset(map(moved.listed, typed)), frozenset(typed))))
    ids: dict[str, list[int]] = {path: [] for choices in wanted.values() for paths in choices for path in paths}
    sought = dict(wanted)
    for partition in job.partitions if wanted else ():
        for image_id, path in enumerate(path_list.read_paths(job, partition), partition.start):
            if path in ids:
                ids[path].append(image_id)
        sought = {
            image: choices
            for image, choices in sought.items()
            if all(job.state.is_removed(image_id) for path in choices[0] for image_id in ids[path])
        }
        if not sought:
            break
    return {
        image: _meant(job, image, [[image_id for path in paths for image_id in ids[path]] for paths in choices])
        for image, choices in wanted.items()
    }


def _meant(job: OpenJob, image: str, choices: Sequence[Sequence[int]]) -> int:
    """Which of the images that have the path of `image` is meant: the best of the first of `choices` that has any."""
    for found in choices:
        if left := [image_id for image_id in found if not job.state.is_removed(image_id)]:
            return min(left)
    for found in choices:
        if found:
            return max(found)  # The last one that was removed.
    raise QueryError(f"{job.path} lists no image {image}: give its id, or its path as the hits of a search give it.")


def image_facts(job: OpenJob, image_id: int) -> dict[str, Any]:
    """What the job knows of an image: its row, unless it was purged, of which of several sources it is, and if it was
    removed, when and by which change. Raises CorruptFile when a file of the job is damaged."""
    facts: dict[str, Any] = {"id": image_id} if job.state.is_purged(image_id) else _row(job, image_id)
    if len(job.sources) > 1:
        facts["source"] = read_moved(job).now(job.source_of(image_id).location)
    if not job.state.is_removed(image_id):
        return facts
    change = removal_of(job, image_id)
    when = datetime.fromtimestamp(change.at, UTC).isoformat(" ", "seconds")
    return facts | {"status": "removed", "removed_at": when, "removed_by": change.number}


def _row(job: OpenJob, image_id: int) -> dict[str, Any]:
    """Its row of the sealed metadata or errors, or that it is not embedded yet."""
    partition = job.partition_of(image_id)
    known = path_list.read_known(job, partition).slice(image_id - partition.start, 1).to_pylist()
    listed = path_list.read_paths(job, partition)[image_id - partition.start]
    facts: dict[str, Any] = {"id": image_id, "image_path": read_moved(job).now(listed)}
    if not ledger.is_sealed(job, partition.number):
        return facts | {"status": "not sealed yet"} | (known[0] if known else {})
    for path in (job.metadata(partition.number), job.errors(partition.number)):
        table = read_table(path)
        rows = table.filter(pc.equal(table["id"], image_id)).to_pylist()
        if rows:
            row: dict[str, Any] = rows[0] | {"image_path": facts["image_path"]}
            return {"status": "embedded"} | row if path == job.metadata(partition.number) else row
    return facts
