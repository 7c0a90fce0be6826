import numpy as np
import pytest

from shared.errors import MessageError
from shared.messages.query import Query


def test_a_vector_with_the_image_that_it_was_made_of_travels_whole() -> None:
    sent = Query(np.array([0.5, -2], np.float32), b"\x00image")
    got = Query.from_json(sent.to_json())
    assert got.vector is not None
    assert got.vector.tolist() == [0.5, -2]
    assert got.image == b"\x00image"


@pytest.mark.parametrize("table", [{}, {"image": "", "name": "x"}, {"vector": "AAAA", "ids": ""}, [], "image"])
def test_what_is_neither_is_refused(table: object) -> None:
    with pytest.raises(MessageError, match='JSON object with "vector", "image" or both'):
        Query.from_json(table)


def test_each_of_the_two_is_bounded_by_itself() -> None:
    table = Query(np.ones(4, np.float32), b"12345678").to_json()
    assert Query.from_json(table, 8).image == b"12345678"
    with pytest.raises(MessageError, match="image of a query has 8 bytes, and at most 7"):
        Query.from_json(table, 7)
    with pytest.raises(MessageError, match="vector of a query has 3 bytes"):
        Query.from_json(table | {"vector": "AAAA"})
