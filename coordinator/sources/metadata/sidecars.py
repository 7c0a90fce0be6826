"""Find which texts belong to which images, by their names alone, in one rule for every kind of source (pure)."""

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from typing import Final

TEXTS: Final = {".json": "json", ".txt": "txt", ".cls": "cls"}
"""The suffixes of texts beside an image, and the name of the column for each."""


class Sidecars:
    """The texts among some files of one source, and which images each belongs to; files are paths with `/`.

    A text without its suffix is a name. It belongs to the images of its folder whose own name, with or without suffix,
    is just that (`a.json` and `a.jpg.json` to `a.jpg`). Where there are none, to those whose name is its longest
    beginning up to a dot (`a.jpg.meta.json` to `a.jpg`); where there are none of these, to all whose names begin with
    it up to a dot (`a.json` to `a.left.jpg` and `a.right.jpg`).

    `orphans` are the texts that belong to none. `notes` counts, in words, how texts were taken.
    """

    def __init__(self, images: Set[str], texts: Set[str], notes: Counter[str]) -> None:
        self._images, self._texts, self._notes = images, texts, notes
        self._suffixes = sorted({_split(text)[1] for text in texts}, key=lambda s: (list(TEXTS).index(s.lower()), s))
        self._endings = sorted({"", *(_split(image)[1] for image in images)})
        self._farther: dict[str, list[str]] = {}
        self.orphans: list[str] = []
        unclear = []
        for text in sorted(texts):
            if self._named(_split(text)[0]):
                notes[f"{_kind(text)} taken as metadata"] += 1
            else:
                unclear.append(text)
        self._match_beginnings(unclear)

    def of(self, image: str) -> list[str]:
        """The texts that belong to `image`, each once; last comes the one whose name is nearest to its own."""
        stem = _split(image)[0]
        names = (stem, image) if stem != image else (stem,)
        found = [text for name in names for s in self._suffixes if (text := name + s) in self._texts]
        found = self._farther.get(image, []) + found
        if not found and any(beginning + s in self._texts for beginning in _beginnings(stem) for s in self._suffixes):
            # In webdataset, which goes only by the first dot, that text would belong to this image as well.
            self._notes["image without metadata beside that of a shorter name"] += 1
        return found

    def _named(self, name: str) -> list[str]:
        """The images whose name, with or without suffix, is `name`."""
        return [image for ending in self._endings if (image := name + ending) in self._images]

    def _match_beginnings(self, texts: Sequence[str]) -> None:
        shorter: dict[str, list[str]] = {}
        for text in texts:
            name = _split(text)[0]
            owners = next((found for beginning in _beginnings(name) if (found := self._named(beginning))), [])
            if owners:
                self._take(text, owners)
            else:
                shorter.setdefault(name, []).append(text)
        if not shorter:
            return
        owners_of: dict[str, list[str]] = {}
        for image in self._images:
            for beginning in _beginnings(_split(image)[0]):
                if beginning in shorter:
                    owners_of.setdefault(beginning, []).append(image)
        for name, some in shorter.items():
            for text in some:
                if name in owners_of:
                    self._take(text, owners_of[name])
                else:
                    self.orphans.append(text)

    def _take(self, text: str, images: list[str]) -> None:
        self._notes[f"{_kind(text)} taken as metadata by the beginning of its name"] += 1
        for image in images:
            self._farther.setdefault(image, []).append(text)


def _beginnings(name: str) -> Iterator[str]:
    """The beginnings of `name` up to each dot of its last part, the longest first, without itself."""
    folder, slash, last = name.rpartition("/")
    while "." in last.lstrip("."):
        last = last.rpartition(".")[0]
        yield folder + slash + last


def _split(path: str) -> tuple[str, str]:
    return posixpath.splitext(path)


def _kind(text: str) -> str:
    return _split(text)[1].lower()
