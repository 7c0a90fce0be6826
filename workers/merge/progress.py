"""The progress of a merge, phase by phase, and the moment at which it is stopped."""

from dataclasses import dataclass

from shared.processes.control import Control


@dataclass(frozen=True, slots=True)
class MergeProgress:
    """Which `share`, 0 to 1, is done of a phase: checking, training, adding, measuring or promoting."""

    phase: str
    share: float

    def __str__(self) -> str:
        return f"{self.phase} · {self.share:.0%}"


MergeControl = Control[MergeProgress]


def step(control: MergeControl, phase: str, share: float) -> None:
    """Report how far a merge is. Raises Stopped when it is to stop, or is somebody else's by now."""
    control.require_going()
    control.require_commit()
    control.report(MergeProgress(phase, share))
