"""Describe fusion: features of several levels of a model as one vector, and what its trial found on a job's images."""

import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Self

from shared.errors import ModelError

LEAST_IMAGES: Final = 64
"""How many images must be readable for a trial: one half is learned from, the other measured on."""
POWER: Final = 3
"""The power of generalised-mean pooling where none is known to be better: the root of the mean of the cubes."""
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MOST_POWER = 16
# The last layers before the maps of features become half as large, twice, and the one before everything is pooled.
_LITE_LEVELS = ("block5_expand", "block11_expand", "head")
_APPLICATION_LEVELS = ("block4a_expand_activation", "block6a_expand_activation", "top_activation")


@dataclass(frozen=True, slots=True)
class Fusion:
    """How features of several levels of a model become one vector.

    `levels` are the names of the layers whose feature maps are pooled, in the order of the vector. Pooling is the root
    of the mean of powers: that of order `power`, a whole number from 1. `projection_sha256` is the digest of the file
    that makes the embedding of the pooled levels, in 64 hex digits; None before it is learned.
    """

    levels: tuple[str, ...]
    power: int = POWER
    projection_sha256: str | None = None

    def __post_init__(self) -> None:
        names = self.levels
        if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
            raise ModelError(f"The levels of a fused model are {list(names)!r:.200}; expected names that differ.")
        if type(self.power) is not int or not 1 <= self.power <= _MOST_POWER:
            raise ModelError(f"The pooling of a fused model has the power {self.power!r:.40}; expected 1 to 16.")
        digest = self.projection_sha256
        if digest is not None and not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
            raise ModelError(f"The projection of a fused model has the digest {digest!r:.80}; expected 64 hex digits.")

    @property
    def projection_file(self) -> str:
        """The name of the projection's file among the files of a job's model. Of two that are learned at once, each has
        its own.
        """
        return f"fusion_{(self.projection_sha256 or '')[:16]}.npy"

    @property
    def unprojected(self) -> "Fusion":
        """The same as it is before a projection: only that decides what the network computes."""
        return replace(self, projection_sha256=None)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"levels": list(self.levels)}

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """The inverse of `to_json`; ModelError for anything else."""
        if not isinstance(table, dict) or set(table) != {field.name for field in fields(cls)}:
            raise ModelError(f"A fused model is described by {table!r:.200}; expected levels, power and a projection.")
        if not isinstance(table["levels"], list):
            raise ModelError(f"The levels of a fused model are {table['levels']!r:.200}; expected a list.")
        return cls(tuple(table["levels"]), table["power"], table["projection_sha256"])


@dataclass(frozen=True, slots=True)
class FusionTrial:
    """What came of the trial of fusion before a job was made, on some of its own images.

    `kept` says whether the job's model is fused. `plain` and `fused` are the shares of `copies` altered copies whose
    original is found first, among `images` images; None where nothing could be measured, for the `reason`.
    """

    kept: bool
    images: int
    copies: int = 0
    plain: float | None = None
    fused: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if type(self.kept) is not bool or type(self.images) is not int or type(self.copies) is not int:
            raise ModelError("A trial of fusion was expected to say whether it was kept, and of how many images.")
        if not isinstance(self.reason, str) or (self.plain is None) != (self.fused is None):
            raise ModelError("A trial of fusion was expected to have both shares or none, and a reason.")
        shares = [share for share in (self.plain, self.fused) if share is not None]
        if not all(isinstance(share, float) and 0 <= share <= 1 for share in shares):
            raise ModelError(f"A trial of fusion has the shares {shares!r:.80}; expected 0.0 to 1.0.")
        if self.kept and not shares:
            raise ModelError("A trial of fusion that measured nothing can't have kept it.")

    def __str__(self) -> str:
        return f"Fusion: {self.text}"

    @property
    def text(self) -> str:
        """What came of it, for a line."""
        if self.plain is None or self.fused is None:
            return f"not measured, {self.reason}: not kept"
        found = (
            f"the original of an altered copy is found first in {self.fused:.1%} against {self.plain:.1%} of "
            f"{self.copies:,} copies, among {self.images:,} images"
        ).replace("%", " %")
        return f"{found}: kept" if self.kept else f"{found}: not kept, {self.reason}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """The inverse of `to_json`; ModelError for anything else."""
        if not isinstance(table, dict) or set(table) != {field.name for field in fields(cls)}:
            raise ModelError(f"A trial of fusion is described by {table!r:.200}, which is none.")
        return cls(**table)


def known_levels(name: str) -> tuple[str, ...] | None:
    """The levels that are fused of the model called `name`; None where they have to be looked for in the model."""
    if name.startswith("efficientnet-lite"):
        return _LITE_LEVELS
    return _APPLICATION_LEVELS if name.startswith(("efficientnet-", "efficientnetv2-")) else None
