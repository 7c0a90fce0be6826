"""Describe how busy each stage of embedding was (read, decode, model, write), and which of them held up the rest."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

STAGES = ("read", "decode", "model", "write")
"""In the order in which an image passes through them."""


@dataclass(frozen=True, slots=True)
class StageLoad:
    """The share of the time, 0 to 1, in which each stage was at work, and the share in which the others waited for it.

    `read` and `decode` are shares of the time of all reading threads, `model` and `write` of the one thread that each
    has. `held_up` is, by stage, the share of the time in which the embedding waited for it; the largest is the
    bottleneck.
    """

    busy: dict[str, float]
    held_up: dict[str, float]

    @property
    def bottleneck(self) -> str:
        return max(STAGES, key=lambda stage: self.held_up[stage])

    def __str__(self) -> str:
        """As in "bottleneck: model 97% (read 2%, decode 41%, write 1%)"."""
        slowest = self.bottleneck
        others = ", ".join(f"{stage} {self.busy[stage]:.0%}" for stage in STAGES if stage != slowest)
        return f"bottleneck: {slowest} {self.busy[slowest]:.0%} ({others})"

    def to_json(self) -> dict[str, Any]:
        return {
            "busy": {stage: round(self.busy[stage], 3) for stage in STAGES},
            "held_up": {stage: round(self.held_up[stage], 3) for stage in STAGES},
        }

    @classmethod
    def from_json(cls, table: Any) -> Self | None:
        """The inverse of `to_json`; None for None, or for what a version with other stages wrote."""
        try:
            return cls(*({stage: float(table[key][stage]) for stage in STAGES} for key in ("busy", "held_up")))
        except (LookupError, TypeError, ValueError):
            return None

    @classmethod
    def mean(cls, loads: Iterable[tuple[Self | None, float]]) -> Self | None:
        """The mean of loads, each with the seconds that it was measured over; None when none is known."""
        known = [(load, seconds) for load, seconds in loads if load is not None and seconds > 0]
        total = sum(seconds for _, seconds in known)
        if not known:
            return None
        return cls(
            {stage: sum(load.busy[stage] * seconds for load, seconds in known) / total for stage in STAGES},
            {stage: sum(load.held_up[stage] * seconds for load, seconds in known) / total for stage in STAGES},
        )
