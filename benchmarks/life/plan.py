"""Draw the turns of a life from its seed: what happens to the job, and when its command is killed."""

import random
from dataclasses import dataclass
from typing import Final

KINDS: Final = ("refresh", "delete", "retry", "add", "compact", "source", "duplicates")
"""What can happen in a turn; in as many turns as there are kinds, each happens once."""
_MOST_KILLS: Final = 2
# Of the time that the command takes undisturbed; what is killed late has often committed its change.
_MOMENTS: Final = (0.05, 1.0)
# How often the whole machine goes, as Colab's does, in place of the command alone, whose workers outlive it a while.
_MACHINE: Final = 0.7


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill -9 after a share of the command's undisturbed time: of the command, or of all its processes at once."""

    share: float
    whole_machine: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: its number from 1, what happens, the seed of its draws, and the kills, one for each try."""

    number: int
    kind: str
    seed: int
    kills: tuple[Kill, ...]


def draw(seed: int, turns: int) -> list[Turn]:
    """The turns of a life, the same for the same seed."""
    rng = random.Random(seed)
    drawn: list[Turn] = []
    kinds: list[str] = []
    for number in range(1, turns + 1):
        if not kinds:
            kinds = rng.sample(KINDS, len(KINDS))
        kills = tuple(Kill(rng.uniform(*_MOMENTS), rng.random() < _MACHINE) for _ in range(rng.randint(1, _MOST_KILLS)))
        drawn.append(Turn(number, kinds.pop(), rng.randrange(2**32), kills))
    return drawn
