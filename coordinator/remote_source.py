"""Remote sources: what lies behind a URL that fsspec opens, a folder or what a pattern matches -> ordered images."""

import posixpath
from collections import Counter
from collections.abc import Iterator
from typing import Any

from coordinator.archive_images import images_in_all, images_of
from coordinator.folders import count_left_out
from coordinator.listing import IMAGE_SUFFIXES, Listed
from shared import remote
from shared.errors import SourceError
from shared.paths import ARCHIVE_SUFFIXES


def is_folder(url: str) -> bool:
    """Whether `url` is a folder or a prefix, and no file. Raises SourceError when there is nothing, or no answer."""
    with remote.listing(url):
        fs, path = remote.filesystem(url)
        if url.lower().startswith("http"):
            # A web server does not tell a page from a folder: what has no suffix is taken for one.
            return not posixpath.splitext(remote.redacted(url))[1]
        kind: str = fs.info(path)["type"]
        return kind == "directory"


def folder(url: str, left_out: Counter[str]) -> Iterator[Listed]:
    """The images under the folder `url`, depth first, each folder in the order of its names.

    A folder without images gives those of the archives in it. Raises SourceError when it can't be listed.
    """
    archives: list[str] = []
    images = 0
    for file in _walk(url):
        suffix = posixpath.splitext(remote.redacted(file))[1].lower()
        if suffix in IMAGE_SUFFIXES:
            images += 1
            yield Listed(file)
        elif suffix in ARCHIVE_SUFFIXES and not images:
            archives.append(file)
        else:
            count_left_out(left_out, suffix or "without suffix")
    if not images:
        yield from images_in_all(archives, left_out)
    for archive in archives if images else ():
        count_left_out(left_out, posixpath.splitext(archive)[1].lower())


def matches(url: str, left_out: Counter[str]) -> Iterator[Listed]:
    """What the pattern `url` matches, in order: archives and images. Raises SourceError when that is nothing."""
    with remote.listing(url):
        fs, path = remote.filesystem(url)
        found = sorted(fs.glob(path))
    if not found:
        raise SourceError(f"Nothing matches {remote.redacted(url)}.")
    for match in found:
        yield from images_of(fs.unstrip_protocol(match), left_out)


def _walk(url: str) -> Iterator[str]:
    """The URLs of the files under `url`."""
    with remote.listing(url):
        fs, root = remote.filesystem(url)
    above = [_listed(fs, root, url)]
    seen = {root}
    while above:
        entry = next(above[-1], None)
        if entry is None:
            above.pop()
        elif entry[1]:
            # The links of a web page may lead back up.
            if entry[0] not in seen and entry[0].startswith(root.rstrip("/")):
                seen.add(entry[0])
                above.append(_listed(fs, entry[0], url))
        else:
            yield fs.unstrip_protocol(entry[0])


def _listed(fs: Any, path: str, url: str) -> Iterator[tuple[str, bool]]:
    """The names in a folder, in order, and whether each is a folder."""
    with remote.listing(url):
        entries = {entry["name"].rstrip("/"): entry["type"] == "directory" for entry in fs.ls(path, detail=True)}
    entries.pop(path.rstrip("/"), None)  # Stores have an entry of the folder's own.
    return iter(sorted(entries.items()))
