"""Photographs that come, change, go and get other names, in several folders, and which of them a job is to hold."""

import random
from pathlib import Path
from typing import Final

from benchmarks.chaos.photos import write_note, write_photo

_COME: Final = (3, 9)
_FEW: Final = (1, 3)
# One in so many is no image, so that there is always one to mend.
_BROKEN_EVERY: Final = 9


class Collection:
    """Folders of photographs. `held` are the paths of those that a job of them is to hold after the commands so far.

    `folders` are its sources; images that are added by their names are in a folder of their own.
    """

    def __init__(self, root: Path, count: int) -> None:
        self._root = root
        self._next = 0
        self._broken: dict[str, int] = {}
        self.held: set[str] = set()
        self.folders: list[Path] = []
        self._make("photos", count)

    def _make(self, name: str, count: int) -> Path:
        folder = self._root / name
        folder.mkdir(parents=True)
        self.folders.append(folder)
        self.held |= {self._new(folder) for _ in range(count)}
        return folder

    def _new(self, folder: Path, *, whole: bool = False) -> str:
        number, self._next = self._next, self._next + 1
        path = folder / f"photo_{number:05d}.jpg"
        if number % _BROKEN_EVERY == _BROKEN_EVERY - 1 and not whole:
            write_note(path, number)
            self._broken[str(path)] = number
        else:
            write_photo(path, number)
        return str(path)

    def whole(self) -> list[str]:
        """The images that are held and are no broken ones, in order."""
        return sorted(self.held - set(self._broken))

    def refresh(self, rng: random.Random) -> None:
        """Let photographs come, change, go, and be renamed in the folders."""
        come = {self._new(rng.choice(self.folders)) for _ in range(rng.randint(*_COME))}
        some = [path for path in self.whole() if Path(path).parent in self.folders]
        changed, gone, renamed = (rng.randint(*_FEW) for _ in range(3))
        drawn = rng.sample(some, changed + gone + renamed)
        for path in drawn[:changed]:
            write_photo(Path(path), self._next)
            self._next += 1
        for path in drawn[changed : changed + gone]:
            Path(path).unlink()
        for path in drawn[changed + gone :]:
            other = Path(path).with_name(f"renamed_{self._next:05d}.jpg")
            self._next += 1
            Path(path).rename(other)
            come.add(str(other))
        self.held = self.held - set(drawn[changed:]) | come

    def delete(self, rng: random.Random) -> list[str]:
        """Images to remove, by their paths; their files stay where they are."""
        drawn = rng.sample(sorted(self.held), rng.randint(*_FEW))
        self.held -= set(drawn)
        for path in drawn:
            self._broken.pop(path, None)
        return drawn

    def source(self, rng: random.Random) -> Path:
        """A folder more."""
        return self._make(f"photos {len(self.folders) + 1}", rng.randint(*_COME))

    def add(self, rng: random.Random) -> list[str]:
        """A few images outside of the folders, by their paths."""
        folder = self._root / "elsewhere"
        folder.mkdir(exist_ok=True)
        added = [self._new(folder, whole=True) for _ in range(rng.randint(*_FEW))]
        self.held |= set(added)
        return added

    def mend(self, rng: random.Random) -> None:
        """Put an image in the place of a broken one, if there is any."""
        if broken := sorted(set(self._broken) & self.held):
            path = rng.choice(broken)
            write_photo(Path(path), self._broken.pop(path))
