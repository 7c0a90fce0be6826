"""What a search asks of a finer model, a second one that orders the nearest images, and what an answer says of it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from shared.errors import MessageError, QueryError
from shared.images.paths import expanded
from shared.messages.tasks import checked_integer
from shared.models import MODEL_FILES, MODEL_NAMES, resolve_model, weights_sha256
from shared.storage.stores import any_path

_MOST_TEXT: Final = 4_096
_OPTIONAL: Final = ("sha256", "input", "output")


@dataclass(frozen=True, slots=True)
class Finer:
    """The finer model that a search asks for: its name, or the path or the name of a `.keras` or `.onnx` file.

    `sha256` is that of the file, where who asks has it; a worker that has another file of that name refuses. `input`
    and `output` say of an `.onnx` file what it does not say itself, in the words of ImageInput and VectorOutput.
    """

    model: str
    sha256: str | None = None
    input: str | None = None
    output: str | None = None

    @classmethod
    def of(cls, model: str | os.PathLike[str], input: str | None = None, output: str | None = None) -> Self:
        """What a program asks for; raises QueryError for what names no model, ModelError as `resolve_model` does for a
        name that is none and a file that can't be read."""
        text = os.fspath(model) if isinstance(model, str | os.PathLike) else None
        if not isinstance(text, str) or not text or len(text) > _MOST_TEXT or "\0" in text:
            raise QueryError(f"finer is {model!r:.80}; expected a model's name, or the path of a .keras or .onnx file.")
        if not text.endswith(MODEL_FILES):
            if text not in MODEL_NAMES:
                resolve_model(text)
            return cls(text)
        path = expanded(any_path(text))
        words = (input, output) if text.endswith(".onnx") else (None, None)
        if not path.is_file():  # It may be where the worker is.
            return cls(text, None, *words)
        return cls(str(path.absolute()), weights_sha256(path), *words)

    @property
    def is_file(self) -> bool:
        return self.model.endswith(MODEL_FILES)

    def to_json(self) -> dict[str, Any]:
        told = {"model": self.model} | {name: getattr(self, name) for name in _OPTIONAL if getattr(self, name)}
        return {"finer": told}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self | None:
        """The inverse of `to_json` among the fields `values` of a message; MessageError for anything else."""
        if "finer" not in values:
            return None
        table = values["finer"]
        if not isinstance(table, Mapping) or "model" not in table or not set(table) <= {"model", *_OPTIONAL}:
            raise MessageError(f"finer must hold a model, and perhaps {', '.join(_OPTIONAL)}, not {table!r:.200}.")
        if not all(
            isinstance(text, str) and 0 < len(text) <= _MOST_TEXT and "\0" not in text for text in table.values()
        ):
            raise MessageError(f"finer must hold texts, not {table!r:.200}.")
        return cls(**table)


@dataclass(frozen=True, slots=True)
class Refined:
    """What a finer model did for an answer.

    Attributes
    ----------
    model
        Its fingerprint.
    candidates
        How many of the nearest images were to be compared by it.
    compared
        How many were: they have a `finer` similarity.
    unread
        How many were not, as their image can't be read or is another one by now; `why_unread` is a sentence about the
        first of them, None where there is none.
    is_late
        Whether the time was up before all were compared. What was computed is kept, so asking again goes further.
    reason
        A sentence that says why hits are in the order of their similarity alone; None where they are not.
    """

    model: str
    candidates: int = 0
    compared: int = 0
    unread: int = 0
    why_unread: str | None = None
    is_late: bool = False
    reason: str | None = None

    def and_of(self, other: "Refined") -> "Refined":
        """What was compared by this holder of some shards and by another one together."""
        return Refined(
            self.model if self.model == other.model else f"{self.model} and {other.model}",
            self.candidates + other.candidates,
            self.compared + other.compared,
            self.unread + other.unread,
            self.why_unread or other.why_unread,
            self.is_late or other.is_late,
            self.reason or other.reason,
        )

    def to_json(self) -> dict[str, Any]:
        table: dict[str, Any] = {"model": self.model, "candidates": self.candidates, "compared": self.compared}
        if self.unread:
            table |= {"unread": self.unread, "why_unread": self.why_unread}
        if self.is_late:
            table["is_late"] = True
        return table if self.reason is None else table | {"reason": self.reason}

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises ValueError, TypeError, KeyError or MessageError for anything but what `to_json` gives."""
        candidates, compared, unread = (
            checked_integer(table.get(name, 0), name, 0, 1 << 40) for name in ("candidates", "compared", "unread")
        )
        why, late, reason = table.get("why_unread"), table.get("is_late", False), table.get("reason")
        texts = isinstance(table["model"], str) and all(isinstance(text, str | None) for text in (why, reason))
        if not texts or type(late) is not bool:
            raise ValueError(f"finer is {table!r:.200}")
        return cls(table["model"], candidates, compared, unread, why, late, reason)
