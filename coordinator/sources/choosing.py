"""Choose which files below a source are taken, by their names and by patterns, and count the others."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from pathspec import GitIgnoreSpec

from shared.errors import ImageError, UsageError
from shared.images.kinds import is_image
from shared.job.manifest import Source

# The names of what file systems, desktops and storage boxes keep beside people's files, as they are counted; `*` is any
# ending.
_LEFT_OUT: Final = (
    "@eaDir", ".@__thumb", ".thumb", ".thumbnails", "@Recycle", "#recycle", "#snapshot", "$RECYCLE.BIN",
    "System Volume Information", "lost+found", "__MACOSX", ".AppleDouble", ".DS_Store", "Thumbs.db", "._*", ".Trash*",
)  # fmt: skip
_WHOLE: Final = {name.lower(): name for name in _LEFT_OUT if not name.endswith("*")}
_BEGINNINGS: Final = {name.lower()[:-1]: name for name in _LEFT_OUT if name.endswith("*")}
_BEGINS: Final = tuple(_BEGINNINGS)
UNUSUAL_BEGINNINGS: Final = frozenset(
    letter.encode() for name in _LEFT_OUT for letter in (name[0].lower(), name[0].upper())
)
"""The first characters of names that may be left out by default, so that a quick look is enough for most names."""

# How many suffixes are counted apart. Suffixes such as `.20240131` could be as many as there are files.
_SUFFIXES: Final = 40
_MOST_KINDS: Final = 10_000
_OTHER: Final = "other"
WITHOUT_SUFFIX: Final = "without suffix"
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Choice:
    """The options about the files of a source: patterns as in a .gitignore, relative to the source, and whether files
    without suffix are read to see what they are (`sniff`).
    """

    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    sniff: bool = False

    def __bool__(self) -> bool:
        return self != Choice()


EVERYTHING: Final = Choice()
"""The choice without any option: everything except what is left out by default."""


def choice_of(source: Source) -> Choice:
    """The choice that was made when the images of a job were listed."""
    return Choice(tuple(source.exclude), tuple(source.include), source.sniff)


class Sieve:
    """Decides for each file below a source whether it is taken, and counts in `left_out`, by reason, those that are
    not.

    `notes` counts, in words, files that were taken for something else than an image. Without `texts`, texts beside
    images are counted and not read; without `archives`, archives in a folder or glob are not opened. Of the files of a
    disk that are taken, `wanted` says by its path which are still asked for: of another one nothing is read. Raises
    UsageError for an invalid pattern.
    """

    def __init__(
        self,
        choice: Choice = EVERYTHING,
        *,
        texts: bool = True,
        archives: bool = True,
        wanted: Callable[[str], bool] = lambda path: True,
    ) -> None:
        self.left_out: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.reads_texts = texts
        self.opens_archives = archives
        self.wants = wanted
        self.sniffs = choice.sniff
        self.has_patterns = bool(choice.exclude or choice.include)
        self._exclude = _compiled("--exclude", choice.exclude)
        self._include = _compiled("--include", choice.include)
        self._patterns = choice.exclude
        self._apart: set[str] = set()
        self._others: set[str] = set()

    def why_not(self, path: str, is_folder: bool = False) -> str | None:
        """Why the file at `path`, relative to the source, is not taken; None if it is.

        A reason for a folder counts for everything below it. What an --include matches is taken; but what is left out
        by default is taken only if the pattern matches more than a folder above it.
        """
        if is_folder and self._include is not None:
            return None  # The pattern may mean something in the folder.
        parts = path.split("/")
        for depth, part in enumerate(parts):
            if reason := by_default(part):
                above = "/".join(parts[:depth])
                if not self._is_included(path) or (above and self._is_included(f"{above}/")):
                    return reason
        if self._exclude is not None and not self._is_included(path):
            found = self._exclude.check_file(f"{path}/" if is_folder else path)
            if found.include and found.index is not None:
                return f"excluded by {self._patterns[found.index]}"
        return None

    def _is_included(self, path: str) -> bool:
        return self._include is not None and self._include.match_file(path)

    def takes(self, suffix: str, head: Callable[[], bytes]) -> bool:
        """Whether a file with this suffix, in small letters, is an image; `head` returns its first bytes.

        The head of a file without suffix is read only if that was asked for.
        """
        if suffix or not self.sniffs:
            return suffix in IMAGE_SUFFIXES
        try:
            return is_image(head())
        except ImageError:
            return False

    def leave_out(self, reason: str) -> None:
        """Count a file that is not listed: suffixes of pictures each by name, of other suffixes only so many by
        name.
        """
        if reason == WITHOUT_SUFFIX and self.sniffs:
            reason = f"{WITHOUT_SUFFIX} and no image"
        if reason.startswith(".") and reason not in PICTURE_SUFFIXES and reason not in self._apart:
            if len(self._apart) >= _SUFFIXES:
                if len(self._others) <= _MOST_KINDS:
                    self._others.add(reason)
                reason = _OTHER
            else:
                self._apart.add(reason)
        self.left_out[reason] += 1

    def through(self, items: Iterator[_Item]) -> Iterator[_Item]:
        """Yield `items`; when they have ended, the counts are complete, and say how many kinds were not counted by
        name.
        """
        yield from items
        if others := self.left_out.pop(_OTHER, 0):
            kinds = len(self._others)
            said = f"over {_MOST_KINDS:,}" if kinds > _MOST_KINDS else f"{kinds:,}"
            self.left_out[f"of {said} other kind{'s' if kinds > 1 else ''}"] = others


def by_default(name: str) -> str | None:
    """The reason that a file or folder of this name is left out by default, or None."""
    lower = name.lower()
    if lower.startswith(_BEGINS):
        return next(reason for begin, reason in _BEGINNINGS.items() if lower.startswith(begin))
    return _WHOLE.get(lower)


def _compiled(option: str, patterns: Sequence[str]) -> GitIgnoreSpec | None:
    """The patterns of an option, or None for none."""
    for pattern in patterns:
        try:
            made = GitIgnoreSpec.from_lines([_literal(pattern)]).patterns
        except ValueError:
            made = []
        if not made or made[0].include is None:
            raise UsageError(
                f"{option} {pattern!r} is no pattern: name files or folders as a .gitignore does, such as '*.png', "
                "'raw/' or '/2019/**/small'."
            )
    return GitIgnoreSpec.from_lines(map(_literal, patterns)) if patterns else None


def _literal(pattern: str) -> str:
    """A pattern from the command line, where there are no comments, and where a storage box has a folder `#recycle`."""
    return re.sub(r"^#", r"\\#", pattern)


# RAW files of cameras, which are read if the extra `formats` is installed.
RAW_SUFFIXES: Final = frozenset(
    [
        ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos",
        ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
    ]
)  # fmt: skip
# Suffixes of files that are decoded, and that cameras, browsers and archives write. Others are counted, not listed.
IMAGE_SUFFIXES: Final = RAW_SUFFIXES | frozenset(
    [
        ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".jps", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib",
        ".tif", ".tiff", ".gif", ".avif", ".avifs", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf",
        ".jpx", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".psd", ".tga", ".dds", ".pcx", ".qoi", ".ico", ".icns",
        ".jxl",
    ]
)  # fmt: skip

PICTURE_SUFFIXES: Final = frozenset(
    [
        # Pictures that are not decoded here.
        ".heics", ".jxr", ".wdp", ".hdp", ".psb",
        ".cur", ".pam", ".exr", ".hdr", ".pic", ".svg", ".svgz", ".eps", ".ai", ".pdf",
        ".djvu", ".xcf", ".kra", ".ora", ".xbm", ".xpm", ".sgi", ".rgb", ".ras", ".sun", ".wmf", ".emf", ".flif",
        ".bpg", ".jng", ".mng", ".dpx", ".cin", ".fits", ".fit", ".dcm", ".nii", ".jls", ".j2p", ".jpm", ".jph", ".iff",
        # Camera RAW of rare kinds, or whose first bytes tell nothing.
        ".ari", ".bay", ".cap", ".dcs", ".drf", ".gpr", ".k25", ".mdc", ".ptx", ".r3d", ".raw",
        # Moving pictures.
        ".3g2", ".3gp", ".asf", ".avi", ".flv", ".insv", ".lrv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
        ".mpg", ".mts", ".mxf", ".ogv", ".vob", ".webm", ".wmv",
    ]
)  # fmt: skip
"""Suffixes of pictures and films that no listing takes: each is counted by its name, however many there are."""
