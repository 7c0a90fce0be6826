"""Group the files of an archive into webdataset samples: a text beside an image is its metadata."""

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import Any, Final

from coordinator.sources.choosing import WITHOUT_SUFFIX, Sieve
from coordinator.sources.listing import ListedImage
from coordinator.sources.metadata.sidecars import TEXTS, Sidecars
from coordinator.sources.metadata.text_values import TEXT_BYTES, joined, said_by
from shared.errors import ImageError
from shared.images.archives import Inside
from shared.images.paths import ARCHIVE_SUFFIXES, member_text

# How many files are held to find the image of a text: an archive may hold millions.
AT_ONCE: Final = 50_000


def webdataset_samples(
    archive: str,
    files: Iterable[Inside],
    read: Callable[[Inside], bytes],
    head: Callable[[Inside], bytes],
    sieve: Sieve,
    place: str = "",
) -> Iterator[ListedImage]:
    """The images among `files` of `archive`, in their order, each with the values of its texts.

    The plain values of a JSON object become columns of their own. `read` returns the bytes of a file, `head` the first
    ones, and `place` is the place of the archive in its source.
    """
    images: list[Inside] = []
    texts: list[Inside] = []
    # The files of one webdataset sample are next to each other, and are kept together.
    for _, sample in groupby(files, lambda file: _key(file.name)):
        for file in sample:
            suffix = posixpath.splitext(file.name)[1].lower()
            if why := sieve.why_not(posixpath.join(place, file.name)):
                sieve.left_out[why] += 1
            elif reason := _reason_to_leave_out(file, suffix):
                sieve.leave_out(reason)
            elif sieve.takes(suffix, partial(head, file)):
                images.append(file)
            elif suffix in TEXTS:
                texts.append(file)
            else:
                sieve.leave_out(suffix or WITHOUT_SUFFIX)
        if len(images) + len(texts) >= AT_ONCE:
            yield from _matched(archive, images, texts, read, sieve)
            images, texts = [], []
    yield from _matched(archive, images, texts, read, sieve)


def _key(name: str) -> str:
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])


def _reason_to_leave_out(file: Inside, suffix: str) -> str | None:
    parts = file.name.split("/")
    if file.member is None:
        return file.why
    if file.name.startswith("/") or ".." in parts:
        return "name that leads out of its archive"
    return "archive inside an archive" if suffix in ARCHIVE_SUFFIXES else None


def _matched(
    archive: str, images: list[Inside], texts: list[Inside], read: Callable[[Inside], bytes], sieve: Sieve
) -> Iterator[ListedImage]:
    if not sieve.reads_texts or not images:
        for text in texts:
            sieve.leave_out(posixpath.splitext(text.name)[1].lower())
        texts = []
    if not texts:
        yield from (ListedImage(member_text(archive, image.name), image.member) for image in images)
        return
    sidecars = Sidecars({image.name for image in images}, {text.name for text in texts}, sieve.notes)
    places: dict[str, list[Inside]] = {}
    for text in texts:
        places.setdefault(text.name, []).append(text)
    for orphan in sidecars.orphans:
        for _ in places[orphan]:
            sieve.leave_out(posixpath.splitext(orphan)[1].lower())
    counts = Counter(image.name for image in images)
    seen: Counter[str] = Counter()
    said: dict[Inside, Mapping[str, Any]] = {}
    for image in images:
        turn = seen[image.name]
        seen[image.name] += 1
        own = [_of_turn(places[text], turn, counts[image.name], image) for text in sidecars.of(image.name)]
        said = {text: said[text] for text in own if text in said}
        for text in own:
            if text not in said:
                said[text] = _said(text, read, sieve.left_out)
        yield ListedImage(member_text(archive, image.name), image.member, joined(said[text] for text in own))


def _of_turn(texts: list[Inside], turn: int, images: int, image: Inside) -> Inside:
    """Choose, among texts of one name, the one for an image whose own name occurred `images` times before in the
    archive.

    This happens in tars that were put end to end.
    """
    if len(texts) == images:
        return texts[turn]
    assert image.member is not None
    offset = image.member.offset
    return min(texts, key=lambda text: abs(offset - (text.member.offset if text.member else 0)))


def _said(text: Inside, read: Callable[[Inside], bytes], left_out: Counter[str]) -> Mapping[str, Any]:
    def data() -> bytes:
        if text.member is not None and text.member.size > TEXT_BYTES:
            raise ImageError("The text is too large.", "oversized")
        return read(text)

    return said_by(text.name, data, left_out)
