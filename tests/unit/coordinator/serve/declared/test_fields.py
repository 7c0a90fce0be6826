"""Fields: what a declaration says of a value in words and as a schema is what the check of it does."""

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.serve.declared.fields import FILE, Field, of_object, of_pairs
from coordinator.serve.declared.operations import OPERATIONS
from shared.errors import UsageError

_FIELDS = {
    (operation.name, place, field.name): field
    for operation in OPERATIONS
    for place, fields in (("json", operation.json), ("parts", operation.parts), ("query", operation.query))
    for field in fields
    if field.kind != FILE
}
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["auto", "never"]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=3), inside, max_size=2),
    max_leaves=5,
)


def sentence(check: Callable[[Any], object], value: Any) -> str:
    """Why a check refuses a value; "" where it takes it."""
    try:
        check(value)
    except UsageError as error:
        return str(error)
    return ""


@settings(max_examples=100, deadline=None)
@given(value=_values)
def test_the_schema_takes_what_the_check_takes(value: Any) -> None:
    for field in _FIELDS.values():
        said = sentence(field.checked, value)
        assert field.name in said or not said
        taken = not said
        # A schema can't say that infinity is no number, nor that 1.0 is no whole one.
        odd = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, float)]
        if not odd:
            assert taken == jsonschema.Draft202012Validator(field.schema()).is_valid(value), (field, value)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=20) | st.sampled_from(["true", "1", "[1]", "NaN", "1e999", "-0", "[", "9" * 5000]))
def test_any_text_is_a_value_or_a_sentence(text: str) -> None:
    for field in _FIELDS.values():
        said = sentence(field.of_text, text)
        assert said.startswith(field.name) or not said


def test_what_is_left_out_has_its_default_and_null_is_left_out() -> None:
    fields = (Field("k", "integer", "How many.", 10, 1, 20), Field("name", "string", "Its name.", required=True))
    assert of_object(fields, {"name": "a", "k": None}) == {"k": 10, "name": "a"}
    assert of_pairs(fields, [("name", "a"), ("k", "3")]) == {"k": 3, "name": "a"}
    with pytest.raises(UsageError, match="name is missing: Its name"):
        of_object(fields, {"name": None})
    with pytest.raises(UsageError, match="'k' came 2 times"):
        of_pairs(fields, [("k", "3"), ("k", "3"), ("name", "a")])
    with pytest.raises(UsageError, match=r"no field 'K' here; there are k, name"):
        of_pairs(fields, [("K", "3")])
