"""List the images behind a URL that fsspec opens: a file, a folder or a pattern."""

import posixpath
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from coordinator.sources.choosing import WITHOUT_SUFFIX, Sieve
from coordinator.sources.gathering import fixed_folder, images_in_folder, images_of, place_below, texts_among
from coordinator.sources.listing import ListedImage
from coordinator.sources.metadata.sidecars import TEXTS, Sidecars
from shared.errors import SourceError
from shared.images.kinds import HEAD_BYTES
from shared.images.paths import ARCHIVE_SUFFIXES
from shared.storage import remote
from shared.text import without_secrets


def is_folder(url: str) -> bool:
    """Whether `url` is a folder or a prefix, and no file. Raises SourceError when there is nothing there, or no
    answer.
    """
    with remote.listing(url):
        fs, path = remote.filesystem(url)
        if url.lower().startswith("http"):
            # A web server does not tell a page from a folder: a name without suffix is taken for a folder.
            return not posixpath.splitext(without_secrets(url))[1]
        kind: str = fs.info(path)["type"]
        return kind == "directory"


def folder(url: str, sieve: Sieve) -> Iterator[ListedImage]:
    """The images under the folder `url`, depth first, each folder in the order of its names.

    Each comes with what the texts beside it say; those in the archives of the folder come last. Raises SourceError when
    it can't be listed.
    """
    with remote.listing(url):
        _, root = remote.filesystem(url)
    yield from images_in_folder(_walk(url, sieve), lambda file: place_below(root, remote.filesystem(file)[1]), sieve)


def matches(url: str, sieve: Sieve) -> Iterator[ListedImage]:
    """The archives and images that the pattern `url` matches, in order. Raises SourceError when it matches nothing."""
    with remote.listing(url):
        fs, path = remote.filesystem(url)
        found = sorted(fs.glob(path))
    if not found:
        raise SourceError(f"Nothing matches {without_secrets(url)}.")
    base = fixed_folder(path)
    places = {place_below(base, match): fs.unstrip_protocol(match) for match in found}
    files = [(file, place) for place, file in places.items()]
    yield from images_of(files, places, texts_among(places, sieve), sieve)


def _walk(url: str, sieve: Sieve) -> Iterator[tuple[str, Sequence[str]]]:
    """The URLs of images and archives under `url` that `sieve` lets through, with those of the texts beside each."""
    with remote.listing(url):
        fs, root = remote.filesystem(url)

    def looked_at(folder: str) -> Iterator[tuple[str, bool, Sequence[str]]]:
        return _looked_at(_listed(fs, folder, url), lambda path: place_below(root, path), head, sieve)

    def head(path: str) -> bytes:
        return remote.read_at(fs.unstrip_protocol(path), 0, HEAD_BYTES)

    above = [looked_at(root)]
    seen = {root}
    while above:
        entry = next(above[-1], None)
        if entry is None:
            above.pop()
        elif entry[1]:
            # The links of a web page may lead back up.
            if entry[0] not in seen and entry[0].startswith(root.rstrip("/")):
                seen.add(entry[0])
                above.append(looked_at(entry[0]))
        else:
            yield fs.unstrip_protocol(entry[0]), [fs.unstrip_protocol(text) for text in entry[2]]


def _looked_at(
    entries: Iterator[tuple[str, bool]], place: Callable[[str], str], head: Callable[[str], bytes], sieve: Sieve
) -> Iterator[tuple[str, bool, Sequence[str]]]:
    """The folders, images and archives among the entries of a folder, with the texts beside each; others are
    counted.
    """
    chosen: list[tuple[str, bool]] = []
    images: set[str] = set()
    texts: set[str] = set()
    for path, is_folder in entries:
        suffix = "" if is_folder else posixpath.splitext(path.partition("?")[0])[1].lower()
        if why := sieve.why_not(place(path), is_folder):
            sieve.left_out[why] += 1
        elif is_folder or suffix in ARCHIVE_SUFFIXES:
            chosen.append((path, is_folder))
        elif sieve.takes(suffix, partial(head, path)):
            chosen.append((path, False))
            images.add(path)
        elif suffix in TEXTS and sieve.reads_texts:
            texts.add(path)
        else:
            sieve.leave_out(suffix or WITHOUT_SUFFIX)
    sidecars = Sidecars(images, texts, sieve.notes) if texts else None
    for text in sidecars.orphans if sidecars is not None else ():
        sieve.leave_out(posixpath.splitext(text)[1].lower())
    for path, is_folder in chosen:
        yield path, is_folder, sidecars.of(path) if sidecars is not None and path in images else ()


def _listed(fs: Any, path: str, url: str) -> Iterator[tuple[str, bool]]:
    """The names in a folder, in order, and whether each is a folder."""
    with remote.listing(url):
        entries = {entry["name"].rstrip("/"): entry["type"] == "directory" for entry in fs.ls(path, detail=True)}
    entries.pop(path.rstrip("/"), None)  # Stores have an entry for the folder itself.
    return iter(sorted(entries.items()))
