"""Remote sources: what lies behind a URL that fsspec opens, a folder or what a pattern matches -> ordered images."""

import posixpath
from collections.abc import Iterator
from typing import Any

from coordinator.archive_images import fixed_folder, images_in_all, images_of, place_below
from coordinator.choosing import Sieve
from coordinator.listing import Listed
from coordinator.suffixes import IMAGE_SUFFIXES
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


def folder(url: str, sieve: Sieve) -> Iterator[Listed]:
    """The images under the folder `url`, depth first, each folder in the order of its names.

    A folder without images gives those of the archives in it. Raises SourceError when it can't be listed.
    """
    archives: list[tuple[str, str]] = []
    images = 0
    for file, place in _walk(url, sieve):
        suffix = posixpath.splitext(remote.redacted(file))[1].lower()
        if suffix in IMAGE_SUFFIXES:
            images += 1
            yield Listed(file)
        elif suffix in ARCHIVE_SUFFIXES and not images:
            archives.append((file, place))
        else:
            sieve.leave_out(suffix or "without suffix")
    if not images:
        yield from images_in_all(archives, sieve)
    for archive, _ in archives if images else ():
        sieve.leave_out(posixpath.splitext(archive)[1].lower())


def matches(url: str, sieve: Sieve) -> Iterator[Listed]:
    """What the pattern `url` matches, in order: archives and images. Raises SourceError when that is nothing."""
    with remote.listing(url):
        fs, path = remote.filesystem(url)
        found = sorted(fs.glob(path))
    if not found:
        raise SourceError(f"Nothing matches {remote.redacted(url)}.")
    base = fixed_folder(path)
    for match in found:
        yield from images_of(fs.unstrip_protocol(match), sieve, place_below(base, match))


def _walk(url: str, sieve: Sieve) -> Iterator[tuple[str, str]]:
    """The URLs of the files under `url` that `sieve` lets through, each with its place below `url`."""
    with remote.listing(url):
        fs, root = remote.filesystem(url)
    above = [_listed(fs, root, url)]
    seen = {root}
    while above:
        entry = next(above[-1], None)
        if entry is None:
            above.pop()
        elif why := sieve.why_not(place_below(root, entry[0]), entry[1]):
            sieve.left_out[why] += 1
        elif entry[1]:
            # The links of a web page may lead back up.
            if entry[0] not in seen and entry[0].startswith(root.rstrip("/")):
                seen.add(entry[0])
                above.append(_listed(fs, entry[0], url))
        else:
            yield fs.unstrip_protocol(entry[0]), place_below(root, entry[0])


def _listed(fs: Any, path: str, url: str) -> Iterator[tuple[str, bool]]:
    """The names in a folder, in order, and whether each is a folder."""
    with remote.listing(url):
        entries = {entry["name"].rstrip("/"): entry["type"] == "directory" for entry in fs.ls(path, detail=True)}
    entries.pop(path.rstrip("/"), None)  # Stores have an entry of the folder's own.
    return iter(sorted(entries.items()))
