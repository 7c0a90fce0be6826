"""Sources: a folder, a list, standard input, archives, a glob or a URL of these -> ordered images, streamed."""

import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from coordinator import list_files, remote_source
from coordinator.archive_images import fixed_folder, holds_images, images_in, images_in_all, images_of, place_below
from coordinator.choosing import EVERYTHING, Choice, Sieve
from coordinator.folders import walk
from coordinator.list_files import LISTS, beside
from coordinator.listing import Listed, Listing
from coordinator.suffixes import IMAGE_SUFFIXES
from shared.errors import PackError, SourceError, UsageError
from shared.locations import suffix_of
from shared.packdir import PackDir, load_spec
from shared.paths import ARCHIVE_SUFFIXES, is_url, to_os_path, to_text

_SOURCES: Final = (
    "a folder of images, a .tar, .zip or .parquet of them, a list of their paths (.txt, .csv, .tsv, .jsonl or "
    ".parquet), a glob in quotes, a URL of one of these, or - for a list on stdin"
)
# A compressed tar is one stream: no image in it can be read without all those before it.
_COMPRESSED: Final = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")


def open_source(source: str, stdin: BinaryIO | None = None, choice: Choice = EVERYTHING) -> Listing:
    """The listing of SOURCE: a folder (recursive), an archive, a list of paths, a glob, or `-` for a list on stdin.

    A folder without images gives those of the archives in it. Relative paths in a list file are relative to the list,
    those on standard input to the working directory. `choice` says what is left out of folders, globs, tars and zips.
    Raises SourceError when there is no such source; while it is iterated, when a part of it can't be listed; UsageError
    when `choice` can't be meant.
    """
    sieve = Sieve(choice)
    listing = _opened(source, stdin, sieve)
    if choice and (listing.kind in ("list", "stdin") or suffix_of(listing.location) == ".parquet"):
        raise UsageError(
            f"{source} names its images itself, and no pattern chooses among them: leave --exclude and --include out, "
            "or take rows out of it."
        )
    listing.images = sieve.through(listing.images)
    return listing


def _opened(source: str, stdin: BinaryIO | None, sieve: Sieve) -> Listing:
    left_out = sieve.left_out
    if source == "-":
        lines = list_files.paths_in(stdin or sys.stdin.buffer, beside(Path.cwd()), left_out)
        return Listing("stdin", "-", lines, left_out)
    if is_url(source):
        return _of_url(source.rstrip("/"), sieve)
    path = Path(os.path.expanduser(to_os_path(source))).absolute()
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        if glob.has_magic(source):
            return _of_glob(path, sieve)
        raise SourceError(f"There is nothing at {path}: name {_SOURCES}.") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} can't be looked at ({getattr(error, 'strerror', error)}).") from None
    text = to_text(str(path))
    if stat.S_ISDIR(mode):
        _require_packed(path)
        return Listing("folder", text, _of_folder(os.fsencode(path), sieve), left_out)
    return _of_file(text, stat.S_ISREG(mode), sieve)


def _require_packed(folder: Path) -> None:
    """Raise SourceError for a pack that is still under way: a job of the tars that are there would lack the others."""
    pack = PackDir(folder)
    if not pack.spec.is_file() or pack.table.is_file():
        return
    try:
        spec = load_spec(pack)
    except PackError:
        return  # Somebody else's file of that name.
    raise SourceError(
        f"{folder} is a pack of {spec.listed:,} images that is not finished: `lookalike pack` goes on with it."
    )


def _of_file(text: str, is_regular: bool, sieve: Sieve) -> Listing:
    suffix = suffix_of(text)
    if text.lower().endswith(_COMPRESSED):
        raise SourceError(
            f"{text} is a compressed tar, of which no single image can be read: unpack it, or make it a .tar without "
            "compression, as images are compressed already."
        )
    if suffix not in ARCHIVE_SUFFIXES and suffix not in LISTS:
        raise SourceError(f"{text} is none of what can be indexed: name {_SOURCES}.")
    if not is_regular:  # It is read twice, and from beginning to end.
        raise SourceError(f"{text} is no regular file: give the list on standard input, with - as the source.")
    if suffix in ARCHIVE_SUFFIXES and (suffix != ".parquet" or holds_images(text)):
        return Listing("archive", text, images_in(text, sieve), sieve.left_out)
    return Listing("list", text, iter(LISTS[suffix](text, sieve.left_out)), sieve.left_out)


def _of_folder(root: bytes, sieve: Sieve, base: bytes | None = None) -> Iterator[Listed]:
    """The images under `root`; a person's patterns are relative to `base`, or to `root` where it is left out."""
    archives: list[str] = []
    images = 0
    for path in walk(root, sieve, IMAGE_SUFFIXES | set(ARCHIVE_SUFFIXES), base):
        if path.lower().endswith(ARCHIVE_SUFFIXES):
            archives.append(path)
        else:
            images += 1
            yield Listed(path)
    if images:
        for archive in archives:
            sieve.leave_out(suffix_of(archive))
        return
    above = os.fsdecode(root if base is None else base)
    # Shards, as people keep two million images.
    yield from images_in_all(((path, place_below(above, to_os_path(path))) for path in archives), sieve)


def _of_glob(pattern: Path, sieve: Sieve) -> Listing:
    """What a pattern matches, in the byte order of the names: archives, images and folders."""
    found = sorted(glob.iglob(str(pattern), recursive=True), key=os.fsencode)
    if not found:
        raise SourceError(f"Nothing matches {pattern}: name {_SOURCES}.")
    base = fixed_folder(str(pattern))
    return Listing("glob", to_text(str(pattern)), _of_matches(found, sieve, base), sieve.left_out)


def _of_matches(found: Iterable[str], sieve: Sieve, base: str) -> Iterator[Listed]:
    """The images that the matches of a pattern give, which lie below the folder `base`."""
    for match in found:
        if not os.path.isdir(match):
            yield from images_of(to_text(match), sieve, place_below(base, match))
        elif why := sieve.why_not(place_below(base, match), True):
            sieve.left_out[why] += 1
        else:
            yield from _of_folder(os.fsencode(match), sieve, os.fsencode(base))


def _of_url(url: str, sieve: Sieve) -> Listing:
    if glob.has_magic(url.partition("://")[2].partition("?")[0]):
        return Listing("glob", url, remote_source.matches(url, sieve), sieve.left_out)
    if remote_source.is_folder(url):
        return Listing("folder", url, remote_source.folder(url, sieve), sieve.left_out)
    return _of_file(url, True, sieve)
