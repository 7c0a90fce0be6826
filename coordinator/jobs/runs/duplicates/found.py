"""The groups of duplicates that were found in a job, with their images, as commands and pages show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.messages.verdicts import Evidence

BYTES, PIXELS, PICTURE, LIKE = "bytes", "pixels", "picture", "similar"
KINDS: Final = (BYTES, PIXELS, PICTURE, LIKE)
"""What images of a group have in common, the strongest first. A group of one kind has what is stronger as well; what is
only similar is found from embeddings alone, and with it nothing else but equal bytes."""
WHOLE: Final = 0.9
"""The share of an image that the kept one has to show for the image to be given away without a loss."""
FINE: Final = 0.8
"""The share of its pixels that the kept one has to have of what both show, for the same."""


@dataclass(frozen=True, slots=True)
class Member:
    """An image of a group.

    `verdict` says what it has in common with the image that is kept, and `evidence` why, as if it were the query and
    that one the hit; both are None of that one itself. `similarity` is the cosine of the two, None where it was not
    asked. `width`, `height` and `bytes` are None where the job does not know them. `is_finer` is whether it has more
    pixels of what both show than the kept one, as the original of a picture in a page may have.
    """

    id: int
    image_path: str
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    verdict: str | None = None
    similarity: float | None = None
    evidence: Evidence | None = None
    is_finer: bool = False

    @property
    def is_needless(self) -> bool:
        """Whether nothing of it is lost while the kept one is there."""
        return not self.shows_more and not self.is_finer

    @property
    def shows_more(self) -> bool:
        """Whether a part of it is not in the image that is kept."""
        return self.evidence is not None and self.evidence.query_overlap < WHOLE

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "image_path": self.image_path,
            "width": self.width,
            "height": self.height,
            "bytes": self.bytes,
            "verdict": self.verdict,
            "similarity": None if self.similarity is None else round(self.similarity, 6),
            "evidence": None if self.evidence is None else self.evidence.to_json(),
            "shows_more": self.shows_more,
            "is_finer": self.is_finer,
        }


@dataclass(frozen=True, slots=True)
class Beside:
    """An image of no group that is proven to show what a member shows, but not what the kept image shows."""

    id: int
    image_path: str
    member: int

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "image_path": self.image_path, "same_picture_as": self.member}


@dataclass(frozen=True, slots=True)
class Group:
    """Images of which one is enough: the one to be kept comes first, and `reason` says why it is that one."""

    members: Sequence[Member]
    reason: str
    beside: Sequence[Beside] = ()

    @property
    def kept(self) -> Member:
        """The image that is suggested to be kept."""
        return self.members[0]

    @property
    def others(self) -> Sequence[Member]:
        return self.members[1:]

    def to_json(self) -> dict[str, Any]:
        return {
            "keep": self.kept.id,
            "reason": self.reason,
            "images": [member.to_json() for member in self.members],
            "beside": [one.to_json() for one in self.beside],
        }


@dataclass(frozen=True, slots=True)
class Found:
    """All groups of a job, the largest first, of `kind`; `similarity` is the least that was asked for, if any.

    `images` is how many were looked at. `notes` are sentences about what is not in the answer.
    """

    job: str
    kind: str
    similarity: float | None
    images: int
    groups: Sequence[Group]
    notes: Sequence[str] = ()

    @property
    def others(self) -> int:
        """How many images are in a group and are not the one to be kept."""
        return sum(len(group.others) for group in self.groups)

    def to_json(self) -> dict[str, Any]:
        return {
            "job": self.job,
            "kind": self.kind,
            "similarity": self.similarity,
            "images": self.images,
            "notes": list(self.notes),
            "groups": [group.to_json() for group in self.groups],
        }
