"""The words of verdicts, and the evidence of one: which part of the query shows which part of the hit, and why."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self, TypeAlias

from shared.errors import MessageError

SAME_BYTES = "same bytes"
SAME_PIXELS = "same pixels"
SAME_PICTURE = "same picture"
SIMILAR = "similar"
NOTHING = "nothing above chance"
VERDICTS = (SAME_BYTES, SAME_PIXELS, SAME_PICTURE, SIMILAR, NOTHING)
"""All verdicts, the strongest first."""

Point: TypeAlias = tuple[float, float]
Quad: TypeAlias = tuple[Point, Point, Point, Point]
Matrix: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float]]

# A transform is known to about a hundredth of a side: what is lost of a picture below that is not said.
_WHOLE = 0.975


@dataclass(frozen=True, slots=True)
class Evidence:
    """What proves that a query and a hit show the same pixels or the same picture.

    Coordinates are pixels of the decoded, upright images: x to the right, y down, and (0, 0) is the outer corner of the
    first pixel, so the whole of an image reaches from (0, 0) to (width, height).

    Attributes
    ----------
    inliers
        How many matching points the transform explains; 0 for the same pixels, which are compared one by one.
    aligned
        The share of the compared cells of the overlap that show the same, 0 to 1.
    matrix
        The transform: `(a, b, c), (d, e, f)` brings (x, y) of the query to (ax + by + c, dx + ey + f) of the hit.
    query_quad, hit_quad
        The corners of the region that both share, in the query and in the hit, in the same order: clockwise in the
        query from its upper left one.
    query_overlap, hit_overlap
        The share that the region takes of the query, and of the hit, 0 to 1.
    turned
        By how many degrees the hit's picture is turned clockwise in the query, -180 < d <= 180, in whole degrees.
    mirrored
        Whether the hit's picture is mirrored left to right in the query, before it is turned.
    """

    inliers: int
    aligned: float
    matrix: Matrix
    query_quad: Quad
    hit_quad: Quad
    query_overlap: float
    hit_overlap: float
    turned: float
    mirrored: bool

    @property
    def description(self) -> str:
        """What was done to the hit's picture, and by what it is known: "cropped (41 %), turned 90°, 132 matching
        points". "whole" where nothing was done
        to it, and no points were needed."""
        said = []
        if self.hit_overlap < _WHOLE:
            said.append(f"cropped ({_percent(self.hit_overlap)})")
        if self.query_overlap < _WHOLE:
            said.append(f"in {_percent(self.query_overlap)} of the query")
        if self.turned:
            said.append(f"turned {self.turned:g}°")
        if self.mirrored:
            said.append("mirrored")
        if self.inliers:
            said.append(f"{self.inliers:,} matching points")
        return ", ".join(said) or "whole"

    def to_json(self) -> dict[str, Any]:
        return {
            "inliers": self.inliers,
            "aligned": self.aligned,
            "matrix": [list(row) for row in self.matrix],
            "query_quad": [list(point) for point in self.query_quad],
            "hit_quad": [list(point) for point in self.hit_quad],
            "query_overlap": self.query_overlap,
            "hit_overlap": self.hit_overlap,
            "turned": self.turned,
            "mirrored": self.mirrored,
        }

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """What a later version says beside it is passed over. MessageError for anything that `to_json` can't give."""
        names = {field.name for field in fields(cls)}
        if not isinstance(table, Mapping) or not names <= set(table):
            raise MessageError(f"Evidence must hold {', '.join(sorted(names))}, not {table!r:.200}.")
        inliers, mirrored, turned = table["inliers"], table["mirrored"], table["turned"]
        if type(inliers) is not int or inliers < 0 or type(mirrored) is not bool:
            raise MessageError(f"Evidence counts inliers from 0 and says mirrored or not, not {table!r:.200}.")
        if not _is_number(turned) or not -180 < turned <= 180:
            raise MessageError(f"Evidence says how far a picture is turned in degrees, not {turned!r:.80}.")
        matrix = _rows(table["matrix"], "matrix", 2, 3)
        return cls(
            inliers,
            _share(table["aligned"], "aligned"),
            (matrix[0], matrix[1]),
            _quad(table["query_quad"], "query_quad"),
            _quad(table["hit_quad"], "hit_quad"),
            _share(table["query_overlap"], "query_overlap"),
            _share(table["hit_overlap"], "hit_overlap"),
            float(turned),
            mirrored,
        )


def verdict_text(verdict: str, chance: float | None) -> str:
    """A verdict as it is shown, with the chance that "similar" is more, if that was measured: "similar (12 %)"."""
    return verdict if chance is None or verdict != SIMILAR else f"{verdict} ({_percent(chance)})"


def _percent(share: float) -> str:
    return "under 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _share(value: Any, name: str) -> float:
    if not _is_number(value) or not 0 <= value <= 1:
        raise MessageError(f"{name} of evidence must be a share from 0 to 1, not {value!r:.80}.")
    return float(value)


def _rows(value: Any, name: str, rows: int, columns: int) -> list[Any]:
    if (
        not isinstance(value, list)
        or len(value) != rows
        or not all(isinstance(row, list) and len(row) == columns and all(map(_is_number, row)) for row in value)
    ):
        raise MessageError(f"{name} of evidence must be {rows} x {columns} numbers, not {value!r:.200}.")
    return [tuple(map(float, row)) for row in value]


def _quad(value: Any, name: str) -> Quad:
    first, second, third, fourth = _rows(value, name, 4, 2)
    return first, second, third, fourth
