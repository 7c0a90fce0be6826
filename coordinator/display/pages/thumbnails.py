"""Have the thumbnails of a page made, in a process of its own: the coordinator decodes no image."""

from collections.abc import Sequence
from typing import Any

from coordinator.display.pages.report import Thumbnail
from shared.errors import JobError
from shared.job.opened import OpenJob
from shared.processes import stage


def make_thumbnails(job: OpenJob, ids: Sequence[int], longest: int) -> dict[int, Thumbnail]:
    """The thumbnails of images, with a longer side of at most `longest` pixels, by their ids; those that can't be read
    have none. Raises JobError where the process fails."""
    made: dict[int, Thumbnail] = {}
    if not ids or job.manifest.model.is_imported:  # Nothing is known of where images of vectors are.
        return made

    def told(said: dict[str, Any]) -> None:
        if "jpeg" in said:
            made[said["id"]] = Thumbnail(said["jpeg"], said["width"], said["height"])

    stage.result_of(
        "workers.evaluate.duplicates.thumbnails",
        [str(job.path), str(longest)],
        told,
        what=f"Making the thumbnails of {job.path}",
        request={"ids": list(ids)},
        ended=JobError,
    )
    return made
