"""Give each image of a pack a name in its tar, made from its path below the folder of its source (pure)."""

import hashlib
import os
import re
import unicodedata
from urllib.parse import quote_from_bytes

from coordinator.sources.choosing import IMAGE_SUFFIXES
from shared.images.paths import to_os_path

_MARK = "%"
# Parts of a path that can't be names: programs that unpack a tar refuse them, or write where they should not.
_NO_NAME = re.compile(r"(?<![^/])(\.{1,2})(?![^/])")
# Names that webdataset takes for notes about a tar, and skips.
_NOTE = re.compile(r"__[^/]*__(/|$)")


class MemberNames:
    """Names for the images of one source, in the order of their ids: the same for the same paths, and all different.

    `base` is the folder below which images keep their path as their name; images elsewhere keep the whole path. With
    `by_stem` no two names are the same up to their suffix, for a pack that changes suffixes; with `webdataset` that is
    so too, and nothing but the suffix has a dot in its last part, as webdataset cuts a name at the first.

    A name is the path itself if that is possible. Otherwise its first part begins with `%`: `%/` goes before a path
    whose bytes are percent-escaped, and `%ID/`, with the image's id, before a name that would be the same as an earlier
    one, also on a disk that does not tell upper from lower case, or two Unicode forms from each other.
    """

    def __init__(self, base: bytes, *, by_stem: bool = False, webdataset: bool = False) -> None:
        self._base = base.rstrip(b"/") + b"/"
        self._by_stem = by_stem or webdataset
        self._webdataset = webdataset
        self._seen: set[int] = set()

    def name(self, image: int, image_path: str) -> tuple[str, str]:
        """Stem and suffix of the member for an image; the suffix is "" if the path has no suffix of an image."""
        raw = os.fsencode(to_os_path(image_path))
        raw = raw.removeprefix(self._base) if raw.startswith(self._base) else raw.lstrip(b"/")
        stem, suffix = _split(raw)
        text = self._plain(stem)
        if text is None:
            text = f"{_MARK}/{self._escaped(stem)}"
        if self._is_taken(text, suffix):
            text = f"{_MARK}{image}/{text}"
        return text, suffix

    def _plain(self, stem: bytes) -> str | None:
        """The stem as it is, or None if it can't be a name."""
        try:
            text = stem.decode()
        except UnicodeDecodeError:
            return None
        if text.startswith(_MARK) or text.endswith("/") or "//" in text or _NO_NAME.search(text):
            return None
        if self._webdataset and ("." in text.rpartition("/")[2] or _NOTE.match(text)):
            return None
        return text

    def _escaped(self, stem: bytes) -> str:
        text = re.sub(r"(?<=/)/", "%2F", quote_from_bytes(stem))
        text = _NO_NAME.sub(lambda dots: "%2E" * len(dots[1]), text)
        if self._webdataset:
            folder, slash, last = text.rpartition("/")
            text = folder + slash + last.replace(".", "%2E")
        return text

    def _is_taken(self, stem: str, suffix: str) -> bool:
        """Whether an earlier image has this name, or may get it."""
        if not suffix and not self._by_stem:
            return True  # It gets its suffix when its bytes are known, and must not get another's name.
        name = stem if self._by_stem else stem + suffix
        name = (
            name.lower()
            if name.isascii()
            else unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
        )
        # It stores eight bytes of a hash, as two million names would take too much memory. If two names have one hash,
        # one time in a billion, the later one gets a `%ID/` that it did not need.
        digest = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
        if digest in self._seen:
            return True
        self._seen.add(digest)
        return False


def _split(path: bytes) -> tuple[bytes, str]:
    stem, suffix = os.path.splitext(path)
    text = suffix.decode("ascii", "replace")
    return (stem, text) if text.lower() in IMAGE_SUFFIXES else (path, "")
