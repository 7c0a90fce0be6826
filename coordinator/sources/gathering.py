"""Turn the files of a folder or glob, in order, into images with the texts beside them, and open archives."""

import glob
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from coordinator.sources.archives import images_in_all
from coordinator.sources.choosing import WITHOUT_SUFFIX, Sieve
from coordinator.sources.listing import ListedImage
from coordinator.sources.metadata.sidecars import TEXTS, Sidecars
from coordinator.sources.metadata.text_values import with_texts
from shared.images.kinds import HEAD_BYTES
from shared.images.location import read_head, suffix_of
from shared.images.paths import ARCHIVE_SUFFIXES


def images_in_folder(
    files: Iterable[tuple[str, Sequence[str]]], place: Callable[[str], str], sieve: Sieve
) -> Iterator[ListedImage]:
    """The images among the files of a folder, each with the texts beside it; then those in its archives. `place` gives
    the place of an archive in the source.

    In a folder with images, an archive without any is counted as left out.
    """
    archives: list[str] = []
    images = 0

    def plain() -> Iterator[tuple[str, Sequence[str]]]:
        nonlocal images
        for path, texts in files:
            if not _is_archive(path):
                images += 1
                if sieve.wants(path):
                    yield path, texts
            elif sieve.wants(path):
                archives.append(path)

    yield from with_texts(plain(), sieve.left_out)
    if not sieve.opens_archives:
        return
    for archive in archives:
        found = 0
        for image in images_in_all([(archive, place(archive))], sieve):
            found += 1
            yield image
        if images and found:
            sieve.notes[f"{suffix_of(archive)} beside images, read as an archive of them"] += 1
        elif images and suffix_of(archive) != ".parquet":  # It is counted already.
            sieve.leave_out(f"{suffix_of(archive).lstrip('.')} without images")


def texts_among(places: Mapping[str, str], sieve: Sieve) -> Sidecars | None:
    """The texts among files by their places in the source; None for none. Those of no image are counted."""
    chosen = [place for place in places if sieve.why_not(place) is None]
    texts = {place for place in chosen if _kind(place) in TEXTS}
    if not texts or not sieve.reads_texts:
        return None
    images = {place for place in chosen if sieve.takes(_kind(place), partial(read_head, places[place], HEAD_BYTES))}
    sidecars = Sidecars(images, texts, sieve.notes)
    for text in sidecars.orphans:
        sieve.leave_out(_kind(text))
    return sidecars


def images_of(
    files: Iterable[tuple[str, str]], places: Mapping[str, str], sidecars: Sidecars | None, sieve: Sieve
) -> Iterator[ListedImage]:
    """The images that files matched by a glob give, each with its place: the file itself if it is an image, or the
    images in it.

    `places` are all files that it matches, by their places, and `sidecars` the texts among them.
    """
    run: list[tuple[str, Sequence[str]]] = []
    for file, place in files:
        suffix = suffix_of(file)
        if (why := sieve.why_not(place)) is not None:
            sieve.left_out[why] += 1
        elif sieve.takes(suffix, partial(read_head, file, HEAD_BYTES)):
            texts = sidecars.of(place) if sidecars is not None else ()
            if sieve.wants(file):
                run.append((file, [places[text] for text in texts]))
        elif suffix in ARCHIVE_SUFFIXES:
            yield from with_texts(iter(run), sieve.left_out)
            run = []
            if sieve.opens_archives and sieve.wants(file):
                yield from images_in_all([(file, place)], sieve)
        elif sidecars is None or suffix not in TEXTS:
            sieve.leave_out(suffix or WITHOUT_SUFFIX)
    yield from with_texts(iter(run), sieve.left_out)


def fixed_folder(pattern: str) -> str:
    """The folder below which everything is that a glob matches."""
    parts = pattern.split("/")
    # Each part but the last is a folder; for the last one it is the folder before it.
    fixed = next((at for at, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return "/".join(parts[:fixed]) or "/"


def place_below(base: str, path: str) -> str:
    """The path of `path` below the folder `base`, as patterns see it."""
    return path.removeprefix(base.rstrip("/") + "/")


def _is_archive(path: str) -> bool:
    # This does not parse two million URLs: a query comes only after `?`.
    return path.lower().endswith(ARCHIVE_SUFFIXES) or ("?" in path and suffix_of(path) in ARCHIVE_SUFFIXES)


def _kind(place: str) -> str:
    return posixpath.splitext(place)[1].lower()
