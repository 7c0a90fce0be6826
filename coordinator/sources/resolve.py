"""Open a source (a folder, a list, standard input, archives, a glob or a URL of these) as a stream of images in
order.
"""

import glob
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Final

from coordinator.sources import remote
from coordinator.sources.archives import holds_images, images_in
from coordinator.sources.choosing import EVERYTHING, IMAGE_SUFFIXES, RAW_SUFFIXES, Choice, Sieve
from coordinator.sources.folders import walk
from coordinator.sources.gathering import fixed_folder, images_in_folder, images_of, place_below, texts_among
from coordinator.sources.listing import ListedImage, Listing
from coordinator.sources.lists.lines import paths_in
from coordinator.sources.lists.places import beside
from coordinator.sources.lists.readers import LISTS
from shared.errors import PackError, SourceError, UsageError
from shared.errors.remedy import Remedy
from shared.images.location import suffix_of
from shared.images.paths import ARCHIVE_SUFFIXES, is_url, to_os_path, to_text
from shared.pack.directory import PackDir, load_spec

_SOURCES: Final = (
    "a folder of images, a .tar, .zip or .parquet of them, a list of their paths (.txt, .csv, .tsv, .jsonl or "
    ".parquet), a glob in quotes, a URL of one of these, or - for a list on stdin"
)
# A compressed tar is one stream: no image in it can be read without all those before it.
_COMPRESSED: Final = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")


def open_source(
    source: str,
    stdin: BinaryIO | None = None,
    choice: Choice = EVERYTHING,
    *,
    texts: bool = True,
    archives: bool = True,
    wanted: Callable[[str], bool] = lambda path: True,
) -> Listing:
    """The listing of SOURCE: a folder (recursive), an archive, a list of paths, a glob, or `-` for a list on stdin.

    A folder gives the images in it, with what the texts beside them say, and then those in its archives. Relative paths
    in a list file are relative to the list, those on standard input to the working directory. `choice` says what is
    left out of folders, globs, tars and zips. Without `texts`, those beside images are not read; without `archives`,
    those of a folder or a glob are not opened; of its files, those that are not `wanted` are left out without a look.
    Raises SourceError when there is no such source, and during the
    iteration when a part of it can't be listed; UsageError when `choice` makes no sense.
    """
    sieve = Sieve(choice, texts=texts, archives=archives, wanted=wanted)
    listing = _opened(source, stdin, sieve)
    if choice and (listing.kind in ("list", "stdin") or suffix_of(listing.location) == ".parquet"):
        raise UsageError(
            f"{source} names its images itself, and no pattern chooses among them",
            remedy=Remedy(
                "option",
                does="leave {} out, or take rows out of it",
                given={"exclude": "", "include": "", "sniff": ""},
            ),
        )
    listing.images, listing.notes = sieve.through(noted(listing.images, sieve.notes)), sieve.notes
    return listing


def _opened(source: str, stdin: BinaryIO | None, sieve: Sieve) -> Listing:
    left_out = sieve.left_out
    if source == "-":
        lines = paths_in(stdin or sys.stdin.buffer, beside(Path.cwd()), left_out)
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
    """Raise SourceError for a pack that is still under way: a job of its tars so far would lack the others."""
    pack = PackDir(folder)
    if not pack.spec.is_file() or pack.table.is_file():
        return
    try:
        spec = load_spec(pack)
    except PackError:
        return  # This is a file of that name from another program.
    raise SourceError(
        f"{folder} is a pack of {spec.listed:,} images that is not finished",
        remedy=Remedy("pack", str(folder), "goes on with it"),
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


def _of_folder(root: bytes, sieve: Sieve, base: bytes | None = None) -> Iterator[ListedImage]:
    """The images under `root`; patterns are relative to `base`, by default `root`."""
    above = os.fsdecode(root if base is None else base)
    files = walk(root, sieve, IMAGE_SUFFIXES | set(ARCHIVE_SUFFIXES), base)
    yield from images_in_folder(files, lambda archive: place_below(above, to_os_path(archive)), sieve)


def _of_glob(pattern: Path, sieve: Sieve) -> Listing:
    """The archives, images and folders that a pattern matches, in the byte order of their names."""
    found = sorted(glob.iglob(str(pattern), recursive=True), key=os.fsencode)
    if not found:
        raise SourceError(f"Nothing matches {pattern}: name {_SOURCES}.")
    base = fixed_folder(str(pattern))
    return Listing("glob", to_text(str(pattern)), _of_matches(found, sieve, base), sieve.left_out)


def _of_matches(found: Iterable[str], sieve: Sieve, base: str) -> Iterator[ListedImage]:
    """The images that the matches of a pattern give, which are below the folder `base`."""
    places: dict[str, str] = {}
    runs = [(is_folder, list(run)) for is_folder, run in groupby(found, os.path.isdir)]
    for is_folder, run in runs:
        if not is_folder:
            places |= {place_below(base, match): to_text(match) for match in run}
    sidecars = texts_among(places, sieve)
    for is_folder, run in runs:
        if not is_folder:
            yield from images_of([(to_text(match), place_below(base, match)) for match in run], places, sidecars, sieve)
            continue
        for match in run:
            if why := sieve.why_not(place_below(base, match), True):
                sieve.left_out[why] += 1
            else:
                yield from _of_folder(os.fsencode(match), sieve, os.fsencode(base))


def _of_url(url: str, sieve: Sieve) -> Listing:
    if glob.has_magic(url.partition("://")[2].partition("?")[0]):
        return Listing("glob", url, remote.matches(url, sieve), sieve.left_out)
    if remote.is_folder(url):
        return Listing("folder", url, remote.folder(url, sieve), sieve.left_out)
    return _of_file(url, True, sieve)


FORMATS_NOTE: Final = "of JPEG XL or camera RAW, which take the extra formats"
"""The words under which such images are counted in the notes of a source."""

_SUFFIXES: Final = (".jxl", *sorted(RAW_SUFFIXES))
_PACKAGES: Final = ("imagecodecs", "rawpy")


def noted(images: Iterator[ListedImage], notes: Counter[str]) -> Iterator[ListedImage]:
    """`images`, while `notes` counts those that take the extra, by their suffixes."""
    for image in images:
        if image.path.lower().endswith(_SUFFIXES):
            notes[FORMATS_NOTE] += 1
        yield image


def hint(notes: Mapping[str, int]) -> str | None:
    """The hint for a source with these notes if the extra is not installed here; None if there is none to give."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if FORMATS_NOTE not in notes or not missing:
        return None
    return (
        f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed here: a worker without fails "
        "images of JPEG XL and camera RAW; install with  pip install 'lookalike[formats]'"
    )
