"""Photographs that come, change, go and get other names, and which of them a job is to hold."""

import random
from pathlib import Path
from typing import Final

from benchmarks.chaos.photos import write_note, write_photo

_COME: Final = (3, 9)
_FEW: Final = (1, 3)
# One in so many is no image, so that there is always one to mend.
_BROKEN_EVERY: Final = 9


class Collection:
    """A folder of photographs. `held` are the paths of those that a job of it is to hold after the commands so far."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._next = 0
        self._broken: dict[str, int] = {}
        self.held = {self._new(folder) for _ in range(count)}

    def _new(self, folder: Path) -> str:
        number, self._next = self._next, self._next + 1
        path = folder / f"photo_{number:05d}.jpg"
        if number % _BROKEN_EVERY == _BROKEN_EVERY - 1:
            write_note(path, number)
            self._broken[str(path)] = number
        else:
            write_photo(path, number)
        return str(path)

    def whole(self) -> list[str]:
        """The images that are held and are no broken ones, in order."""
        return sorted(self.held - set(self._broken))

    def refresh(self, rng: random.Random) -> None:
        """Let photographs come, change, go, and be renamed in the folder."""
        come = {self._new(self.folder) for _ in range(rng.randint(*_COME))}
        some = [path for path in self.whole() if Path(path).parent == self.folder]
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

    def mend(self, rng: random.Random) -> None:
        """Put an image in the place of a broken one, if there is any."""
        if broken := sorted(set(self._broken) & self.held):
            path = rng.choice(broken)
            write_photo(Path(path), self._broken.pop(path))
