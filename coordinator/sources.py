"""Sources: a folder, a list, standard input, archives, a glob or a URL of these -> ordered images, streamed."""

import glob
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from coordinator import list_files, remote_source
from coordinator.archive_images import holds_images, images_in, images_in_all, images_of
from coordinator.folders import walk
from coordinator.list_files import LISTS, beside
from coordinator.listing import IMAGE_SUFFIXES, Listed, Listing
from shared.errors import PackError, SourceError
from shared.locations import suffix_of
from shared.packdir import PackDir, load_spec
from shared.paths import ARCHIVE_SUFFIXES, is_url, to_os_path, to_text

_SOURCES: Final = (
    "a folder of images, a .tar, .zip or .parquet of them, a list of their paths (.txt, .csv, .tsv, .jsonl or "
    ".parquet), a glob in quotes, a URL of one of these, or - for a list on stdin"
)
# A compressed tar is one stream: no image in it can be read without all those before it.
_COMPRESSED: Final = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")


def open_source(source: str, stdin: BinaryIO | None = None) -> Listing:
    """The listing of SOURCE: a folder (recursive), an archive, a list of paths, a glob, or `-` for a list on stdin.

    A folder without images gives those of the archives in it. Relative paths in a list file are relative to the list,
    those on standard input to the working directory. Raises SourceError when there is no such source; while it is
    iterated, when a part of it can't be listed.
    """
    left_out: Counter[str] = Counter()
    if source == "-":
        lines = list_files.paths_in(stdin or sys.stdin.buffer, beside(Path.cwd()), left_out)
        return Listing("stdin", "-", lines, left_out)
    if is_url(source):
        return _of_url(source.rstrip("/"), left_out)
    path = Path(os.path.expanduser(to_os_path(source))).absolute()
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        if glob.has_magic(source):
            return _of_glob(path, left_out)
        raise SourceError(f"There is nothing at {path}: name {_SOURCES}.") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} can't be looked at ({getattr(error, 'strerror', error)}).") from None
    text = to_text(str(path))
    if stat.S_ISDIR(mode):
        _require_packed(path)
        return Listing("folder", text, _of_folder(os.fsencode(path), left_out), left_out)
    return _of_file(text, stat.S_ISREG(mode), left_out)


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


def _of_file(text: str, is_regular: bool, left_out: Counter[str]) -> Listing:
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
        return Listing("archive", text, images_in(text, left_out), left_out)
    return Listing("list", text, iter(LISTS[suffix](text, left_out)), left_out)


def _of_folder(root: bytes, left_out: Counter[str]) -> Iterator[Listed]:
    first = next(paths := walk(root, left_out, IMAGE_SUFFIXES), None)
    if first is not None:
        yield from (Listed(path) for path in chain([first], paths))
        return
    # Shards, as people keep two million images: what was counted as left out a moment ago is what is read now.
    for suffix in ARCHIVE_SUFFIXES:
        del left_out[suffix]
    yield from images_in_all(walk(root, Counter(), ARCHIVE_SUFFIXES), left_out)


def _of_glob(pattern: Path, left_out: Counter[str]) -> Listing:
    """What a pattern matches, in the byte order of the names: archives, images and folders."""
    found = sorted(glob.iglob(str(pattern), recursive=True), key=os.fsencode)
    if not found:
        raise SourceError(f"Nothing matches {pattern}: name {_SOURCES}.")
    return Listing("glob", to_text(str(pattern)), _of_matches(found, left_out), left_out)


def _of_matches(found: Iterable[str], left_out: Counter[str]) -> Iterator[Listed]:
    for match in found:
        if os.path.isdir(match):
            yield from _of_folder(os.fsencode(match), left_out)
        else:
            yield from images_of(to_text(match), left_out)


def _of_url(url: str, left_out: Counter[str]) -> Listing:
    if glob.has_magic(url.partition("://")[2].partition("?")[0]):
        return Listing("glob", url, remote_source.matches(url, left_out), left_out)
    if remote_source.is_folder(url):
        return Listing("folder", url, remote_source.folder(url, left_out), left_out)
    return _of_file(url, True, left_out)
