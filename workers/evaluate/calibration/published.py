"""What was measured once on other photographs (`benchmarks/results/chances.json`), for jobs that are too small."""

from typing import Final

from shared.job.index.calibration import PUBLISHED, Calibration, Point, VerdictsMeasured

MODEL: Final = "efficientnet-lite0"
COPIES: Final = 0
ORIGINALS: Final = 0
CURVE: Final[tuple[Point, ...]] = ((0.0, 0.001), (10.0, 0.9))
BOUND: Final = 5.0
NOTHING_THERE: Final = 0.0
NOTHING_ABSENT: Final = 0.5
MISSED: Final = 0.122
"""The share of originals that comparing does not prove, over all alterations, hard ones among them."""


def calibration(build: str, fingerprint: str, reason: str, images: int, verdicts: VerdictsMeasured) -> Calibration:
    """The published calibration as that of a build, with the `reason` why the job has none of its own."""
    return Calibration(
        build=build,
        fingerprint=fingerprint,
        measured=PUBLISHED,
        reason=reason,
        images=images,
        copies=COPIES,
        originals=ORIGINALS,
        curve=CURVE,
        bound=BOUND,
        nothing_there=NOTHING_THERE,
        nothing_absent=NOTHING_ABSENT,
        missed=MISSED,
        verdicts=verdicts,
    )
