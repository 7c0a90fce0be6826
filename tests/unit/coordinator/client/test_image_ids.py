"""Image ids in files: one a line, in an array, or on standard input."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from coordinator.client.image_ids import ids_in
from shared.errors import QueryError


def test_ids_are_lines_or_an_array(tmp_path: Path) -> None:
    text = tmp_path / "ids.txt"
    text.write_text("59\r\n\n  3 \n0")
    assert ids_in(text).tolist() == [59, 3, 0]
    array = tmp_path / "ids.npy"
    for kind in (np.int32, np.uint64, np.int64):
        np.save(array, np.array([59, 3, 0], kind))
        assert (ids_in(array).dtype, ids_in(array).tolist()) == (np.int64, [59, 3, 0])


def test_standard_input_is_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"5\n7\n")))
    assert ids_in(Path("-")).tolist() == [5, 7]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"5\nx\n")))
    with pytest.raises(QueryError, match="Line 2 of standard input is 'x'; each must be one image id"):
        ids_in(Path("-"))


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.array([1.0]), r"are float64 \[1\]; expected whole numbers"),
        (np.array([[1]]), r"are int64 \[1, 1\]; expected whole numbers"),
        (np.array([True]), "are bool"),
        (np.array([4, -1]), r"Row 1 of .*ids\.npy is -1; each must be one image id"),
        (np.array([2**63], np.uint64), "Row 0 of .* is 9223372036854775808"),
        (None, r"can't be read as \.npy"),
    ],
)
def test_an_array_of_something_else_says_so(tmp_path: Path, array: Any, sentence: str) -> None:
    path = tmp_path / "ids.npy"
    path.write_bytes(b"no array") if array is None else np.save(path, array)
    with pytest.raises(QueryError, match=sentence):
        ids_in(path)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(b"1\n-2\n", "Line 2 of .* is '-2'"), (b"1.5", "Line 1"), (b"\xff", "can't be read"), (b"9" * 19, "Line 1")],
)
def test_a_line_that_is_no_id_is_named(tmp_path: Path, data: bytes, sentence: str) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes(data)
    with pytest.raises(QueryError, match=sentence):
        ids_in(path)
