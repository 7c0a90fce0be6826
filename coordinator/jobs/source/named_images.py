"""Find the images of a job that a person names, each by its id, or by its path as it is now or was when listed."""

from collections.abc import Iterable, Sequence

from coordinator.client.stored_query import is_image_id, require_image_id
from shared.errors import QueryError
from shared.images.paths import absolute
from shared.job import path_list
from shared.job.opened import OpenJob
from shared.job.source.moved import read_moved


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
