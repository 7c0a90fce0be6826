"""The messages of thumbnails: which image of a job is wanted how large, and the JPEG that answers."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any, Final, Self

from shared.errors import LookalikeError, MessageError, error_from_json, error_to_json
from shared.messages.changes import MOST_ID
from shared.messages.tasks import VERSION, AboutJob, checked_fields, checked_identity, checked_integer, checked_job

LEAST_SIDE: Final = 16
MOST_SIDE: Final = 1_024
"""Pixels that the longer side of a thumbnail may have."""
MOST_BYTES: Final = 4 << 20
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class MakeThumbnail(AboutJob):
    """Make a thumbnail of an image of a job, with a longer side of at most `side` pixels.

    `sha256` is what the bytes of the image were when it was embedded: no other bytes are shown in its place.
    """

    job: str
    image: int
    side: int
    sha256: str
    identity: str | None = None

    def to_json(self) -> dict[str, Any]:
        return self.table(image=self.image, side=self.side, sha256=self.sha256)

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises MessageError for anything but what `to_json` gives."""
        values = checked_fields(table, "thumbnail", {"job", "image", "side", "sha256"}, frozenset({"identity"}))
        sha256 = values["sha256"]
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise MessageError(f"sha256 must be 64 hex digits, not {sha256!r:.80}.")
        return cls(
            checked_job(values["job"]),
            checked_integer(values["image"], "image", 0, MOST_ID),
            checked_integer(values["side"], "side", LEAST_SIDE, MOST_SIDE),
            sha256,
            checked_identity(values),
        )


def made_to_json(jpeg: bytes) -> dict[str, Any]:
    """The reply that carries a thumbnail."""
    return {"version": VERSION, "jpeg": base64.b64encode(jpeg).decode("ascii")}


def failed_to_json(error: LookalikeError) -> dict[str, Any]:
    """The reply that says why there is none."""
    return {"version": VERSION, "error": error_to_json(error)}


def thumbnail_from_json(table: Any) -> bytes:
    """The JPEG of a reply. Raises the error that it carries, or MessageError when it is no reply."""
    values = checked_fields(table, "thumbnail reply", set(), frozenset({"jpeg", "error"}))
    try:
        if "error" not in values:
            text = values["jpeg"]
            if not isinstance(text, str) or len(text) > MOST_BYTES * 4 // 3:
                raise ValueError("it is no text, or too long")
            return base64.b64decode(text, validate=True)
        told = error_from_json(values["error"])
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise MessageError(
            f"A worker's thumbnail can't be read ({error!r}): run the same version everywhere."
        ) from None
    raise told
