"""Tell apart jobs of one name, where jobs roots share a broker."""

import hashlib
import re
import secrets
from typing import Any

_DIGITS = 16
_SPELLED = re.compile(rf"[0-9a-f]{{{_DIGITS}}}", re.ASCII)


def new_identity() -> str:
    """The identity of a job that is made now: 16 hex digits drawn at random.

    Not from what the job holds: of two jobs made alike under two roots, each is embedded in a directory of its own.
    """
    return secrets.token_hex(_DIGITS // 2)


def identity_of_bytes(manifest: bytes) -> str:
    """The identity of a job that an earlier version made without one: 16 hex digits of its manifest's SHA-256."""
    return hashlib.sha256(manifest).hexdigest()[:_DIGITS]


def is_identity(value: Any) -> bool:
    return isinstance(value, str) and _SPELLED.fullmatch(value) is not None


def known_as(job_id: str, identity: str | None) -> str:
    """What leases and troubles of a job are kept under in the broker; the name alone where nothing more is known.

    No job's name holds a colon, so the two parts can be told apart.
    """
    return job_id if identity is None else f"{job_id}:{identity}"
