"""What was measured once on other photographs (`benchmarks/results/chances.json`), for jobs that are too small."""

from typing import Final

from shared.job.index.calibration import PUBLISHED, Calibration, Point, VerdictsMeasured

# Written by `python -m benchmarks.query.chances PHOTOS --docs`, and by `python -m benchmarks.query.chances.published`.
# figures: benchmarks/results/chances.json
FINGERPRINT: Final = "efficientnet-lite0@6fbe6e88645c"
"""Of another model, of other weights or another precision, chances are others."""
COPIES: Final = 360
ORIGINALS: Final = 60
CURVE: Final[tuple[Point, ...]] = (
    (-2.001, 0.00023),
    (3.389, 0.00023),
    (3.39, 0.00583),
    (5.139, 0.00583),
    (5.146, 0.03425),
    (6.094, 0.03425),
    (6.095, 0.06667),
    (6.648, 0.06667),
    (6.683, 0.14706),
    (7.045, 0.14706),
    (7.055, 0.21579),
    (8.889, 0.21579),
    (8.905, 0.41667),
    (9.129, 0.41667),
    (9.16, 0.5),
    (9.178, 0.5),
    (9.188, 0.62264),
    (11.5, 0.62264),
    (11.503, 0.88298),
    (16.534, 0.88298),
    (16.596, 0.98729),
    (44.652, 0.98729),
)
BOUND: Final = 5.144
NOTHING_THERE: Final = 0.0028
NOTHING_ABSENT: Final = 0.6361
MISSED: Final = 0.0179
"""The share of originals that comparing does not prove, over all alterations, hard ones among them."""
# end of figures


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
