"""What the similarities and verdicts of a build were measured to mean, in a file of its own beside its index.json."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, Self

from shared.errors import CorruptFile
from shared.job.directory import JobDir
from shared.job.index.builds import IndexInfo
from shared.storage import files

CALIBRATION_FILE: Final = "calibration.json"
VERSION: Final = 1
JOB: Final = "job"
"""Measured on the job's own altered copies."""
PUBLISHED: Final = "published"
"""Measured once on other photographs, as the job has too few."""

UNALTERED: Final = "as it is"
"""The row of verdicts of originals that are asked for by their own bytes."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """How the copies of one alteration were judged, `copies` of them.

    `same_bytes`, `same_pixels` and `same_picture` count those whose original got that verdict; `false_pixels` and
    `false_picture` those of which another image got it, of the `strangers` that were compared, all copies together.
    """

    alteration: str
    copies: int
    same_bytes: int
    same_pixels: int
    same_picture: int
    false_pixels: int
    false_picture: int
    strangers: int

    @property
    def proven(self) -> int:
        return self.same_bytes + self.same_pixels + self.same_picture

    @property
    def false(self) -> int:
        """Copies of which another image was taken for the same; none counts twice."""
        return self.false_pixels + self.false_picture


@dataclass(frozen=True, slots=True)
class VerdictsMeasured:
    """What comparing altered copies with their originals, and with the nearest other images, came to.

    `images` is how many originals they are of, `strangers` how many comparisons with other images there were. `unclear`
    counts the other images that were left out, since they are proven to show a part of the original itself. `reason` is
    why nothing could be compared, or "".
    """

    rows: Sequence[VerdictRow] = ()
    images: int = 0
    unclear: int = 0
    reason: str = ""

    @property
    def text(self) -> str:
        """What was found for a sentence, or "" where nothing was compared."""
        if not self.copies:
            return ""
        return f"verdicts: {self.proven:,} of {self.copies:,} copies proven, {self.false:,} falsely"

    @property
    def altered(self) -> Sequence[VerdictRow]:
        """The rows of altered copies, without that of the bytes as they are."""
        return [row for row in self.rows if row.alteration != UNALTERED]

    @property
    def copies(self) -> int:
        """How many altered copies were compared."""
        return sum(row.copies for row in self.altered)

    @property
    def strangers(self) -> int:
        return sum(row.strangers for row in self.altered)

    @property
    def proven(self) -> int:
        return sum(row.proven for row in self.altered)

    @property
    def false(self) -> int:
        return sum(row.false for row in self.altered)

    @property
    def summary(self) -> dict[str, Any]:
        """All that is counted, over all alterations together."""
        return {
            "copies": self.copies,
            "images": self.images,
            "strangers": self.strangers,
            "unclear": self.unclear,
            "proven": self.proven,
            "false": self.false,
            "reason": self.reason,
        }

    def to_json(self) -> dict[str, Any]:
        return self.summary | {"by_alteration": [asdict(row) for row in self.rows]}

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> Self:
        """Raises ValueError, KeyError or TypeError for anything but what `to_json` gives."""
        rows = [VerdictRow(**row) for row in table["by_alteration"]]
        for row in rows:
            counts = [getattr(row, one.name) for one in fields(VerdictRow) if one.name != "alteration"]
            if not all(type(count) is int and count >= 0 for count in counts):
                raise ValueError(f"a row of verdicts is {row!r}")
        return cls(rows, int(table["images"]), int(table["unclear"]), str(table["reason"]))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured of a build, so that similarities of its searches come with a chance.

    Attributes
    ----------
    measured
        What the curve rests on: `JOB`, `PUBLISHED`, or "" where there is none; `reason` then says why, and beside
        `PUBLISHED` why the job's own was not used.
    images
        How many images were searched when the build was measured.
    copies, originals
        How many altered copies were asked for, of how many images; each once with its original in the job and once
        without.
    curve
        Points of a rising curve: how many deviations a hit stands above the ranks behind it, and the chance, 0 to 1,
        that it is the queried picture's original, where half of the queries have one.
    bound
        So many deviations a hit has to stand above the ranks behind for its chance to be above that of any of the
        nearest images.
    nothing_there, nothing_absent
        The share of queries, whose original is in the job and is not, of which no hit was above `bound`.
    missed
        The share of originals that comparing pictures does not prove, by the copies that were compared and the
        published ones.
    verdicts
        What comparing came to; its `reason` where it was not done.
    """

    build: str
    fingerprint: str
    measured: str = ""
    reason: str = ""
    images: int = 0
    copies: int = 0
    originals: int = 0
    curve: Sequence[Point] = ()
    bound: float = 0.0
    nothing_there: float = 0.0
    nothing_absent: float = 0.0
    missed: float = 1.0
    verdicts: VerdictsMeasured = field(default_factory=VerdictsMeasured)

    @property
    def summary(self) -> dict[str, Any]:
        """What a status says of it: all but the curve, the alterations one by one, and which build it is of."""
        left_out = {"build", "fingerprint", "curve", "verdicts"}
        table = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in left_out}
        return table | {"verdicts": self.verdicts.summary}

    def to_json(self) -> dict[str, Any]:
        table = {one.name: getattr(self, one.name) for one in fields(self)}
        return table | {"curve": [list(point) for point in self.curve], "verdicts": self.verdicts.to_json()}

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> Self:
        """Raises ValueError, KeyError or TypeError for anything but what `to_json` gives."""
        made = cls(**{**table, "verdicts": VerdictsMeasured.from_json(table["verdicts"])})
        made = replace(made, curve=tuple((float(z), float(chance)) for z, chance in made.curve))
        numbers = [made.bound, made.nothing_there, made.nothing_absent, made.missed]
        if made.measured not in ("", JOB, PUBLISHED) or bool(made.measured) != bool(made.curve):
            raise ValueError(f"it was measured on {made.measured!r}, with {len(made.curve)} points")
        if not all(map(math.isfinite, numbers)) or not all(0 <= one <= 1 for one in numbers[1:]):
            raise ValueError(f"its numbers are {numbers}")
        chances, places = [chance for _, chance in made.curve], [z for z, _ in made.curve]
        rise = chances == sorted(chances) and places == sorted(places)
        if not rise or not all(map(math.isfinite, places)) or not all(0 <= one <= 1 for one in chances):
            raise ValueError("its curve does not rise from 0 to 1")
        return made


def none_measured(build: str, fingerprint: str, reason: str, **known: Any) -> Calibration:
    """A calibration that says why there is none."""
    return Calibration(build, fingerprint, reason=reason, **known)


def write_calibration(job: JobDir, calibration: Calibration) -> None:
    """Write the calibration of a build into its directory, whole or not at all."""
    table = {"version": VERSION, "calibration": calibration.to_json()}
    table["sha256"] = _digest(table["calibration"])
    path = job.build_dir(calibration.build) / CALIBRATION_FILE
    files.write_bytes(path, (json.dumps(table, indent=1) + "\n").encode())


def read_calibration(job: JobDir, build: str, fingerprint: str) -> Calibration:
    """The calibration of a build of the model `fingerprint`; where it has none, one whose `reason` says so.

    Raises CorruptFile where the file is not what was written for this build. OSError when the disk does not answer.
    """
    path = job.build_dir(build) / CALIBRATION_FILE
    try:
        table = json.loads(files.read_marker(path))
        if table["version"] != VERSION:
            return none_measured(build, fingerprint, f"{path} is of another version of lookalike.")
        if table["sha256"] != _digest(table["calibration"]):
            raise ValueError("its checksum is another one")
        found = Calibration.from_json(table["calibration"])
        if (found.build, found.fingerprint) != (build, fingerprint):
            raise ValueError(f"it is of the build {found.build} and the model {found.fingerprint}")
    except FileNotFoundError:
        return none_measured(build, fingerprint, UNMEASURED)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{path} does not hold what was measured of the build ({error}).") from None
    return found


def calibration_of(job: JobDir, info: IndexInfo) -> Calibration:
    """The calibration of a build; where there is none, or it can't be read, its `reason` says why. Nothing is raised:
    nobody waits for it."""
    try:
        return read_calibration(job, info.build, info.fingerprint)
    except (CorruptFile, OSError) as error:
        return none_measured(info.build, info.fingerprint, str(error))


UNMEASURED: Final = "The build of this index measured no chances: it has no altered copies, or is of an older version."


def _digest(table: Any) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
