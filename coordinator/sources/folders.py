"""Walk the images under a folder, depth first, each folder in the byte order of its names."""

import errno
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from coordinator.sources.choosing import UNUSUAL_BEGINNINGS, WITHOUT_SUFFIX, Sieve, by_default
from coordinator.sources.metadata.sidecars import TEXTS, Sidecars
from shared.errors import SourceError
from shared.images.kinds import HEAD_BYTES
from shared.images.location import read_head
from shared.images.paths import ARCHIVE_SUFFIXES, to_text

_DIRECTORY = "directory"
# Errors that concern only one folder. Any other is a failure of the disk, and would leave out half a source.
_FOLDER_REASONS = {
    errno.EACCES: "folder without permission",
    errno.EPERM: "folder without permission",
    errno.ENAMETOOLONG: "folder with too long a path",
    errno.ENOENT: "folder that vanished while it was listed",
    errno.ENOTDIR: "folder that vanished while it was listed",
}


@dataclass(slots=True)
class _Folder:
    """A folder that is being walked: its names in order, and which of them are folders."""

    path: bytes
    identity: tuple[int, int]
    names: Iterator[bytes]
    folders: frozenset[bytes]
    sidecars: Sidecars | None = None

    def texts(self, name: bytes) -> list[str]:
        """The texts that belong to the image `name`, as `to_text` makes their paths."""
        own = [] if self.sidecars is None else self.sidecars.of(os.fsdecode(name))
        return [to_text(os.path.join(os.fsdecode(self.path), text)) for text in own]


def walk(
    root: bytes, sieve: Sieve, wanted: Collection[str], base: bytes | None = None
) -> Iterator[tuple[str, Sequence[str]]]:
    """The files under `root` whose suffix, in small letters, is one of `wanted`: as texts, depth first, each folder in
    the byte order of its names, each with the texts beside it. `sieve` says which are taken, and counts the others by
    reason.

    Linked folders are followed, except into one of those above, by device and inode, which would never end. Patterns
    are relative to the folder `base`, by default `root`.
    """
    return _Walk(sieve, wanted, os.path.join(root if base is None else base, b"")).files(root)


class _Walk:
    """A walk through the folders of a source."""

    def __init__(self, sieve: Sieve, wanted: Collection[str], base: bytes) -> None:
        self._sieve = sieve
        self._wanted = wanted
        self._base = base  # It ends with a slash.

    def files(self, root: bytes) -> Iterator[tuple[str, Sequence[str]]]:
        above: list[_Folder] = []  # This is a list and no recursion: folders may be nested deeper than Python calls.
        try:
            found: _Folder | None = self._listed_folder(root)
        except OSError as error:
            raise _unlistable(root, error) from None
        while found is not None or above:
            if found is not None:
                above.append(found)
                found = None
            name = next(above[-1].names, None)
            if name is None:
                above.pop()
                continue
            path = os.path.join(above[-1].path, name)
            if name in above[-1].folders:
                found = self._folder_below(above, path)
            else:
                yield to_text(os.fsdecode(path)), above[-1].texts(name) if above[-1].sidecars is not None else ()

    def _folder_below(self, above: list[_Folder], path: bytes) -> _Folder | None:
        """The folder at `path`; None when it is left out, and is counted."""
        try:
            if _identity(path) in [folder.identity for folder in above]:
                self._sieve.leave_out("link to a folder above itself")
                return None
            return self._listed_folder(path)
        except OSError as error:
            reason = _FOLDER_REASONS.get(error.errno or 0)
            # A folder that is no longer there was deleted, or the whole source went away with its mount.
            if reason is None or (error.errno in (errno.ENOENT, errno.ENOTDIR) and not _are_there(above)):
                raise _unlistable(path, error) from None
            self._sieve.leave_out(reason)
            return None

    def _listed_folder(self, path: bytes) -> _Folder:
        folders: set[bytes] = set()
        listed: list[bytes] = []  # Only names: a folder of two million images takes a hundred megabytes that way.
        texts: set[str] = set()
        identity = _identity(path)
        with os.scandir(path) as entries:
            for entry in entries:
                reason = _reason_to_leave_out(entry, self._wanted)
                if (why := self._why_not(entry, reason == _DIRECTORY)) is not None:
                    self._sieve.left_out[why] += 1
                elif reason in (None, _DIRECTORY):
                    if reason == _DIRECTORY:
                        folders.add(entry.name)
                    listed.append(entry.name)
                elif reason in TEXTS and self._sieve.reads_texts:
                    texts.add(os.fsdecode(entry.name))
                elif reason == WITHOUT_SUFFIX and self._is_image(entry.path):
                    listed.append(entry.name)
                else:
                    self._sieve.leave_out(reason)
        listed.sort()
        sidecars = (
            self._sidecars({os.fsdecode(name) for name in listed if name not in folders}, texts) if texts else None
        )
        return _Folder(path, identity, iter(listed), frozenset(folders), sidecars)

    def _is_image(self, path: bytes) -> bool:
        return self._sieve.takes("", lambda: read_head(to_text(os.fsdecode(path)), HEAD_BYTES))

    def _sidecars(self, files: set[str], texts: set[str]) -> Sidecars:
        images = {name for name in files if not name.lower().endswith(ARCHIVE_SUFFIXES)}
        sidecars = Sidecars(images, texts, self._sieve.notes)
        for text in sidecars.orphans:
            self._sieve.leave_out(os.path.splitext(text)[1].lower())
        return sidecars

    def _why_not(self, entry: "os.DirEntry[bytes]", is_folder: bool) -> str | None:
        if not self._sieve.has_patterns:
            # Two million names come through here, and nearly all begin with a letter or a digit.
            return by_default(os.fsdecode(entry.name)) if entry.name[:1] in UNUSUAL_BEGINNINGS else None
        return self._sieve.why_not(os.fsdecode(entry.path).removeprefix(os.fsdecode(self._base)), is_folder)


def _identity(path: bytes) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _are_there(above: list[_Folder]) -> bool:
    try:
        return all(_identity(folder.path) == folder.identity for folder in above)
    except OSError:
        return False


def _unlistable(path: bytes, error: OSError) -> SourceError:
    return SourceError(
        f"The folder {to_text(os.fsdecode(path))} can't be listed ({error.strerror}): make it readable, or give a list "
        "of paths without it."
    )


def _reason_to_leave_out(entry: "os.DirEntry[bytes]", wanted: Collection[str]) -> str | None:
    """None for a file that is wanted, _DIRECTORY for a folder to walk into, else why the entry is not listed."""
    try:
        if entry.is_dir():
            return _DIRECTORY
        regular = entry.is_file()
        broken = entry.is_symlink() and not os.path.exists(entry.path)
    except OSError as error:
        # This is a link that leads to itself, or to a place without permission. For anything else the folder itself
        # fails; but a file with too long a path is listed by its name, so that an image has its error row.
        regular = error.errno == errno.ENAMETOOLONG
        if not regular and not entry.is_symlink():
            raise
        broken = not regular
    if not regular and not broken:
        return "not a regular file"
    suffix = os.path.splitext(entry.name)[1].lower().decode("ascii", "backslashreplace")
    if suffix in wanted:
        # A link to nothing is listed too: the image was meant to be there, and its error row says that it is not.
        return None
    return "link to nothing" if broken else suffix or WITHOUT_SUFFIX
