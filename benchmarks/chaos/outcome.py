"""Record a chaos round: its faults with their measurements, and the promises that broke."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Strike:
    """A fault that happened, and its measurements; `Round` says what its recovery is.

    `moment` is in seconds since the epoch. `held` is what the process that was hit held, and `work_lost_seconds` what
    that cost, both None when it held nothing. `recovered` and `answered` are moments too; the latter, of the next
    search that was sent and answered, is kept for faults of the broker and of the query worker.
    """

    kind: str
    at: float
    moment: float
    hit: str
    held: int | str | None = None
    work_lost_seconds: float | None = None
    recovered: float | None = None
    answered: float | None = None

    @property
    def bars_searches(self) -> bool:
        return self.kind.startswith(("broker", "query"))


@dataclass(slots=True)
class Outcome:
    """The result of a round. `mismatches` are sentences about promises that do not hold; there should be none.

    `not_fired` are faults that found nothing to hit before the job was done.
    """

    number: int
    seconds: float = 0.0
    strikes: list[Strike] = field(default_factory=list)
    not_fired: list[str] = field(default_factory=list)
    chunks_redone: int = 0
    chunks_rewritten: int = 0
    mismatches: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "round": self.number,
            "seconds": round(self.seconds, 1),
            "faults": [_strike_json(strike) for strike in self.strikes],
            "not_fired": self.not_fired,
            "chunks_redone": self.chunks_redone,
            "chunks_rewritten": self.chunks_rewritten,
            "mismatches": self.mismatches,
        }


def _strike_json(strike: Strike) -> dict[str, Any]:

    def since(moment: float | None) -> float | None:
        return None if moment is None else round(moment - strike.moment, 2)

    lost = strike.work_lost_seconds
    return {
        "fault": strike.kind,
        "at": strike.at,
        "hit": strike.hit,
        "held": strike.held,
        "work_lost_seconds": None if lost is None else round(lost, 2),
        "recovery_seconds": since(strike.recovered),
        "next_answer_seconds": since(strike.answered),
    }
