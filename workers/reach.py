"""Whether the images are in reach: a mount that went away must not be taken for images that are lost."""

import os
from collections.abc import Sequence

from shared.checkpoint import ImageRow
from shared.errors import SourceError
from shared.manifest import Manifest
from shared.paths import to_os_path

# Failures that say more of the place than of the image.
_OUT_OF_REACH = ("vanished", "unreadable")


def require_source(manifest: Manifest, rows: Sequence[ImageRow]) -> None:
    """Raise SourceError when images of `rows` seem lost because their folder is, or was for a moment, out of reach.

    A mount that goes away, as a Drive does in the night, makes every image behind it vanish. Committed as failed rows
    they would stay lost when it is back.
    """
    paths = [to_os_path(row.image_path) for row in rows if row.status in _OUT_OF_REACH]
    if not paths:
        return
    folder = to_os_path(manifest.source.location) if manifest.source.kind == "folder" else None
    folder = folder or os.path.commonpath([os.path.dirname(path) for path in paths])
    reason = out_of_reach(folder)
    if reason is not None:
        raise SourceError(
            f"The images' folder {folder} is out of reach ({reason}): mount it again, and the job goes on where it "
            "stands. If its images are gone for good, make a new job without them."
        )
    back = next((path for path in paths if _is_readable(path)), None)
    if back is not None:
        raise SourceError(f"{back} was out of reach for a moment and is back: its chunk is embedded again.")


def out_of_reach(folder: str) -> str | None:
    """Why nothing can be found in `folder`; None when there is something."""
    try:
        with os.scandir(folder) as entries:
            return None if next(entries, None) is not None else "it is empty now"
    except OSError as error:
        return error.strerror or str(error)


def _is_readable(path: str) -> bool:
    try:
        if not os.path.isfile(path):  # Nor a pipe, on which opening would wait.
            return False
        with open(path, "rb") as file:
            file.read(1)
    except OSError:
        return False
    return True
