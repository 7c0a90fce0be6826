"""The declaration of one operation of the HTTP API."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from coordinator.serve.declared.fields import Field

READ, WRITE = "read", "write"
SCOPES: Final = (READ, WRITE)
"""What a key can be good for; write is good for reading too."""
JSON, PROBLEM, HTML, EVENTS, PLAIN = (
    "application/json",
    "application/problem+json",
    "text/html",
    "text/event-stream",
    "text/plain",
)
JPEG, BYTES = "image/jpeg", "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Reply:
    """What an operation answers when it succeeds; `properties` are the schemas of the fields of JSON."""

    what: str
    status: int = 200
    media_type: str = JSON
    properties: Mapping[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    def schema(self) -> dict[str, Any]:
        """The JSON schema of the answer."""
        return {"type": "object", "properties": dict(self.properties), "required": list(self.required)}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: its method and path, who may use it, what it takes, and what it answers.

    `scope` is None where no key is needed. `json` are the fields of a JSON body, `parts` those of a form. `refuses` are
    the statuses of problems that are peculiar to it, each with when it comes.
    """

    name: str
    method: str
    path: str
    summary: str
    scope: str | None
    reply: Reply
    what: str = ""
    query: Sequence[Field] = ()
    json: Sequence[Field] = ()
    parts: Sequence[Field] = ()
    refuses: Mapping[int, str] = field(default_factory=dict)

    @property
    def path_fields(self) -> list[str]:
        """The names in braces in its path."""
        return re.findall(r"{(\w+)}", self.path)
