"""Check whether images are in reach: a mount that went away must not be taken for images that are lost."""

import os
from collections.abc import Iterable, Sequence

from shared.errors import ImageError, SourceError
from shared.images.paths import is_url, split_member, to_os_path
from shared.job.manifest import Source
from shared.job.opened import OpenJob
from shared.job.partition.checkpoint import ImageRow
from shared.job.source.moved import NOT_MOVED, Moved
from shared.storage import remote
from shared.text import without_secrets

# Failures that say more of the place than of the image.
_OUT_OF_REACH = ("vanished", "unreadable")
_GONE_FOR_GOOD = "and the job goes on where it stands. If its images are gone for good, make a new job without them."


def require_source(job: OpenJob, rows: Sequence[ImageRow], moved: Moved = NOT_MOVED) -> None:
    """Raise SourceError when images of `rows` seem lost because their place is, or was for a moment, out of reach.

    The place is that of the source of `job` that each was listed in. They were read where they `moved` to since.

    A mount that goes away, as a Drive does in the night, makes every image behind it vanish. Committed as failed rows
    they would stay lost when it is back.
    """
    lost = [row for row in rows if row.status in _OUT_OF_REACH]
    if not lost:
        return
    # Where others were read just now, the place is there.
    there = {_place(row.image_path) for row in rows if row.status not in _OUT_OF_REACH}
    for archive in _distinct(inside[0] for row in lost if (inside := split_member(row.image_path))):
        if archive not in there:
            _raise_for_archive(moved.now(archive))
    for row in lost:
        path = row.image_path
        if is_url(path) and not split_member(path) and row.status == "unreadable" and _place(path) not in there:
            _raise_for_server(path)
            there.add(_place(path))
    by_source: dict[int, list[str]] = {}
    for row in lost:
        by_source.setdefault(job.state.source_of(row.id), []).append(moved.now(row.image_path))
    for number, paths in by_source.items():
        _require_files(job.sources[number], paths, moved)


def _distinct(archives: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(archives))


def _place(path: str) -> str:
    """What is there or away with an image and others: its archive, the server or bucket of its URL, else its own."""
    inside = split_member(path)
    if inside is not None:
        return inside[0]
    return "/".join(path.split("/", 3)[:3]) if is_url(path) else path


def _raise_for_archive(archive: str) -> None:
    """Say why nothing could be read from an archive: it is away, or it is another one than was listed."""
    if is_url(archive):
        try:
            remote.read_at(archive, 0, 1)
        except ImageError as error:
            raise SourceError(f"The archive {archive} is out of reach: {error}") from None
    elif not os.path.isfile(to_os_path(archive)):
        raise away(archive)
    raise SourceError(
        f"None of these images can be read from the archive {archive}, which is there: it is not the one that was "
        f"listed, or not whole. Put that one back, {_GONE_FOR_GOOD}"
    )


def away(archive: str) -> SourceError:
    """What to say of an archive that is not where it was."""
    return SourceError(f"The archive {archive} is out of reach: put it back there, {_GONE_FOR_GOOD}")


def _raise_for_server(url: str) -> None:
    """Raise SourceError when the server of `url` does not answer, or does again."""
    try:
        remote.read_at(url, 0, 1)
    except remote.OutOfReach as error:
        raise SourceError(f"The images' server does not answer, or not well: {error}") from None
    except ImageError:
        return  # It does, and says no: that is of the image.
    raise SourceError(f"{without_secrets(url)} was out of reach for a moment and is back: its chunk is embedded again.")


def _require_files(source: Source, lost: Sequence[str], moved: Moved) -> None:
    paths = [to_os_path(path) for path in lost if not is_url(path) and not split_member(path)]
    if not paths:
        return
    folder = to_os_path(moved.now(source.location)) if source.kind == "folder" else None
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
