"""Read Read JSON beside an image: the values of its object by their keys, with numbers as they were written."""

import json
from typing import Any, Final

from coordinator.sources.metadata.numbers import as_number


class _Number(str):
    """A number of a document, by its text; also NaN and Infinity, which are no JSON but which many programs write."""


class _Object(list[tuple[str, Any]]):
    """An object, as its pairs in order: one key may occur twice."""


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number, parse_constant=_Number
)


def values_of(document: str) -> dict[str, Any] | None:
    """The values of the object in `document`, by its keys; None if it is no object, has a key twice, or is nested too
    deep to be read.

    Texts, whole numbers, bools and nulls are Python's. A number with a point or an exponent is a `Real`; a number that
    no column of numbers holds exactly becomes its text. A list or an object in it becomes its JSON, with numbers as
    they were written.
    """
    try:
        found = _DECODER.decode(document)
        if not isinstance(found, _Object):
            return None
        values = {key: _value(value) for key, value in found}
    except (ValueError, RecursionError):
        return None
    return values if len(values) == len(found) else None


def _value(value: Any) -> Any:
    if isinstance(value, _Number):
        made = as_number(value)
        return str(value) if made is None else made
    return _json(value) if isinstance(value, list) else value


def _json(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, _Object):
        return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {_json(one)}" for key, one in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
