"""Places: where a path that a list names leads."""

import posixpath
from collections.abc import Callable
from pathlib import Path

from shared.errors import SourceError
from shared.images.paths import is_file_uri, is_url, member_text, split_member, to_os_path, to_text


def beside(base: Path) -> Callable[[str], str]:
    """Resolve a path of a list whose relative paths are relative to `base`; it recognises URLs and members of
    archives.
    """

    def place(text: str) -> str:
        if is_url(text):
            return text
        if is_file_uri(text):  # Hits write a name so that is no UTF-8 or holds a control character.
            return to_text(str(base / to_os_path(text)))
        # This is a path from our own hits, of an image in an archive or with a name that is no UTF-8.
        inside = split_member(text)
        if inside is not None:
            return member_text(to_text(str(base / to_os_path(inside[0]))), inside[1])
        # pathlib drops `.` and double slashes, but keeps `..`, which leads elsewhere behind a link to a directory. That
        # takes time, and an absolute path mostly has nothing to drop.
        plain = text.startswith("/") and not ("//" in text or "/." in text or text.endswith("/"))
        return to_text(text if plain else str(base / text))

    return place


def beside_source(source: str) -> Callable[[str], str]:
    """Resolve a path that `source`, a file or a URL, names: relative paths are relative to its folder."""
    if not is_url(source):
        return beside(Path(to_os_path(source)).parent)
    folder = posixpath.dirname(source)
    return lambda text: text if is_url(text) else posixpath.join(folder, text)


def placed(source: str, number: int, field: str, place: Callable[[str], str]) -> str:
    """The resolved path of a field; SourceError when it can't be a path."""
    try:
        if "\0" not in field:
            return place(field)
    except UnicodeEncodeError:
        pass
    raise SourceError(f"Line {number} of {source} holds {field!r:.80}, which no path can be: give UTF-8 text.")
