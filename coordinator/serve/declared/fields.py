"""The fields that a request can have: what each is, its JSON schema, and the check of a value that came (pure)."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.errors import UsageError

INTEGER, NUMBER, BOOLEAN, TEXT = "integer", "number", "boolean", "string"
INTEGERS, NUMBERS, OBJECT, FILE = "integers", "numbers", "object", "file"
_LISTS: Final = {INTEGERS: INTEGER, NUMBERS: NUMBER}
_WORDS: Final = {
    INTEGER: "a whole number",
    NUMBER: "a number",
    BOOLEAN: "true or false",
    TEXT: "a text",
    INTEGERS: "a list of whole numbers",
    NUMBERS: "a list of numbers",
    OBJECT: "an object",
    FILE: "a file",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a query string, of a JSON object or of a form.

    `least` and `most` bound a number, the items of a list, or the characters of a text.
    """

    name: str
    kind: str
    what: str
    default: Any = None
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    required: bool = False

    def schema(self) -> dict[str, Any]:
        """The JSON schema of its values."""
        schema: dict[str, Any] = {"type": self.kind}
        if self.kind == FILE:
            schema = {"type": TEXT, "contentMediaType": "application/octet-stream"}
        elif self.kind in _LISTS:
            schema = {"type": "array", "items": {"type": _LISTS[self.kind]}}
        least, most = {
            INTEGER: ("minimum", "maximum"), NUMBER: ("minimum", "maximum"), TEXT: ("minLength", "maxLength"),
            INTEGERS: ("minItems", "maxItems"), NUMBERS: ("minItems", "maxItems"),
        }.get(self.kind, ("", ""))  # fmt: skip
        schema |= {
            name: bound for name, bound in ((least, self.least), (most, self.most)) if name and bound is not None
        }
        if self.choices:
            schema["enum"] = list(self.choices)
        if self.default is not None:
            schema["default"] = self.default
        return schema | {"description": self.what}

    def checked(self, value: Any) -> Any:
        """`value` of a JSON object as this field takes it; raises UsageError."""
        if not self._is_of_kind(value):
            raise UsageError(f"{self.name} is {_shown(value)}; expected {_WORDS[self.kind]}.")
        if self.choices and value not in self.choices:
            raise UsageError(f"{self.name} is {_shown(value)}; expected one of {', '.join(self.choices)}.")
        size = value if self.kind in (INTEGER, NUMBER) else len(value) if hasattr(value, "__len__") else 0
        if (self.least is not None and size < self.least) or (self.most is not None and size > self.most):
            raise UsageError(f"{self.name} {self._measured(value)}; expected {self.bounds}.")
        return value

    def of_text(self, text: str) -> Any:
        """The value that a query string or a form says in `text`; raises UsageError."""
        if self.kind == TEXT:
            return self.checked(text)
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise UsageError(f"{self.name} is {_shown(text)}; expected {_WORDS[self.kind]}.") from None
        return self.checked(value)

    @property
    def bounds(self) -> str:
        """Its bounds in words; "" where it has none."""
        of = "" if self.kind in (INTEGER, NUMBER) else " characters" if self.kind == TEXT else " items"
        if self.least is not None and self.most is not None:
            return f"{_count(self.least)} to {_count(self.most)}{of}"
        if self.least is not None:
            return f"at least {_count(self.least)}{of}"
        return "" if self.most is None else f"at most {_count(self.most)}{of}"

    def _measured(self, value: Any) -> str:
        if self.kind in (INTEGER, NUMBER):
            return f"is {_shown(value)}"
        return f"has {len(value):,} {'characters' if self.kind == TEXT else 'items'}"

    def _is_of_kind(self, value: Any) -> bool:
        if self.kind in _LISTS:
            return isinstance(value, list) and _are_numbers(value, _LISTS[self.kind])
        if self.kind in (INTEGER, NUMBER):
            return _is_number(value, self.kind)
        if self.kind == BOOLEAN:
            return isinstance(value, bool)
        return isinstance(value, str if self.kind == TEXT else dict) and _is_unicode(value)


PAGE: Final = (
    Field("limit", INTEGER, "How many at most.", 100, 1, 1_000),
    Field("cursor", TEXT, "Where to go on: `next` of the page before.", None, 1, 200),
)
"""The fields of lists that come in pages."""


def _count(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def _is_unicode(value: Any) -> bool:
    """Whether all text in a value can be written: JSON can escape half of a character, and no file holds that."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _are_numbers(values: list[Any], kind: str) -> bool:
    """`_is_number` of all; without a step of Python's for each, as there may be a million."""
    kinds = set(map(type, values))
    if kind == INTEGER or not kinds <= {int, float}:
        return kinds <= {int}
    try:
        return all(map(math.isfinite, values))
    except OverflowError:
        return False


def _is_number(value: Any, kind: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) if kind == INTEGER else _is_finite(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # A whole number that no float holds.
        return False


def _shown(value: Any) -> str:
    return repr(value[:80]) if isinstance(value, str) else f"{value!r:.80}"


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def of_object(fields: Sequence[Field], given: Any) -> dict[str, Any]:
    """The values of a JSON object by the names of its fields, with defaults; raises UsageError for any other object."""
    if not isinstance(given, Mapping):
        raise UsageError(f"The body is {type(given).__name__}; expected a JSON object.")
    _require_known(fields, given)
    # Null is what programs write for a field that they leave out.
    return _complete(fields, {field.name: field.checked(given[field.name]) for field in fields
                              if given.get(field.name) is not None})  # fmt: skip


def of_pairs(fields: Sequence[Field], given: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The values of a query string or of the texts of a form, as `of_object`."""
    names = [name for name, _ in given]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{name[:80]!r} came {names.count(name)} times; give it once.")
    texts = dict(given)
    _require_known(fields, texts)
    return _complete(fields, {field.name: field.of_text(texts[field.name]) for field in fields if field.name in texts})


def _require_known(fields: Sequence[Field], given: Mapping[str, Any]) -> None:
    known = [field.name for field in fields]
    for name in given:
        if name not in known:
            raise UsageError(f"There is no field {str(name)[:80]!r} here; there are {', '.join(known) or 'none'}.")


def _complete(fields: Sequence[Field], values: dict[str, Any]) -> dict[str, Any]:
    for field in fields:
        if field.required and field.name not in values:
            raise UsageError(f"{field.name} is missing: {field.what}")
    return {field.name: field.default for field in fields} | values
