"""Samples: files of an archive that belong together, as webdataset has it; a text beside an image is its metadata."""

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, Final

from coordinator.choosing import Sieve
from coordinator.json_values import values_of
from coordinator.listing import Listed
from coordinator.suffixes import IMAGE_SUFFIXES
from coordinator.written import number
from shared.archives import Inside
from shared.errors import ImageError
from shared.paths import ARCHIVE_SUFFIXES, member_text

# What is known of a sample by the files beside its image, under the name that the field has for each.
_TEXTS: Final = {".json": "json", ".txt": "txt", ".cls": "cls"}
_TEXT_BYTES: Final = 1 << 20


def samples(
    archive: str, files: Iterable[Inside], read: Callable[[Inside], bytes], sieve: Sieve, place: str = ""
) -> Iterator[Listed]:
    """The images among `files` of `archive`, in their order, each with what the texts of its sample say.

    A sample is what lies next to each other and has one name up to its first dot. The plain values of a JSON object
    become columns of their own. `read` gives the bytes of a file, and `place` is where the archive lies in its source.
    """
    for _, sample in groupby(files, lambda file: _key(file.name)):
        images: list[Inside] = []
        texts: list[Inside] = []
        for file in sample:
            suffix = posixpath.splitext(file.name)[1].lower()
            if why := sieve.why_not(posixpath.join(place, file.name)):
                sieve.left_out[why] += 1
            elif reason := _reason_to_leave_out(file, suffix):
                sieve.leave_out(reason)
            else:
                (images if suffix in IMAGE_SUFFIXES else texts).append(file)
        if not images:
            for file in texts:
                sieve.leave_out(posixpath.splitext(file.name)[1].lower())
            continue
        known: dict[str, Any] = {}
        for file in sorted(texts, key=lambda file: not file.name.lower().endswith(".json")):
            known |= _known(file, archive, read, sieve.left_out)
        for file in images:
            yield Listed(member_text(archive, file.name), file.member, known)


def _key(name: str) -> str:
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])


def _reason_to_leave_out(file: Inside, suffix: str) -> str | None:
    parts = file.name.split("/")
    if file.member is None:
        return file.why
    if file.name.startswith("/") or ".." in parts:
        return "name that leads out of its archive"
    if suffix in ARCHIVE_SUFFIXES:
        return "archive inside an archive"
    return None if suffix in IMAGE_SUFFIXES or suffix in _TEXTS else suffix or "without suffix"


def _known(file: Inside, archive: str, read: Callable[[Inside], bytes], left_out: Counter[str]) -> dict[str, Any]:
    """What a text says: the values of a JSON object by their keys, anything else under the name of its kind."""
    suffix = posixpath.splitext(file.name)[1].lower()
    assert file.member is not None
    if file.member.size > _TEXT_BYTES:
        left_out[f"{suffix} of over {_TEXT_BYTES:,} bytes"] += 1
        return {}
    try:
        text = read(file).decode("utf-8-sig", "replace").strip()
    except ImageError:
        left_out[f"{suffix} that can't be read"] += 1
        return {}
    if suffix == ".json":
        values = values_of(text)
        return {_TEXTS[suffix]: text} if values is None else values
    value = number(text) if suffix == ".cls" else None
    return {_TEXTS[suffix]: text if value is None else value}
