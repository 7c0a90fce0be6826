import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from coordinator.client.queries import as_query
from shared.errors import ImageError, QueryError


def test_a_path_is_sent_as_the_bytes_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "é.jpg"
    path.write_bytes(b"\xff\xd8 whatever is in it")
    assert as_query(path).image == as_query(str(path)).image == b"\xff\xd8 whatever is in it"
    assert as_query(path).vector is None


def test_bytes_are_sent_as_they_are() -> None:
    assert as_query(b"\x89PNG").image == b"\x89PNG"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_vector_is_sent_as_float32(dtype: type) -> None:
    sent = as_query(np.array([0.5, -0.25], dtype)).vector
    assert sent is not None
    assert (sent.dtype, sent.tolist()) == (np.float32, [0.5, -0.25])


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 1, 3), (64, 33, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_rgb_array_is_sent_as_a_file_that_decodes_to_it(shape: tuple[int, int, int], order: Any) -> None:
    image = np.asarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), order=order)
    data = as_query(image).image
    assert data is not None
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.array_equal(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), image)


@pytest.mark.parametrize(
    "query",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((2, 4), np.float32),
        np.zeros(4, np.int64),
        np.zeros(0, np.float32),
        np.array(0.5),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_that_is_neither_image_nor_vector_is_refused(query: np.ndarray) -> None:
    with pytest.raises(QueryError, match=rf"this one is {query.dtype} \[") as refused:
        as_query(query)
    assert str(list(query.shape)) in str(refused.value)


@pytest.mark.parametrize("query", [None, 5, [0.1, 0.2], ("a.jpg",)])
def test_what_can_not_be_a_query_is_refused(query: Any) -> None:
    with pytest.raises(QueryError, match=f"not {type(query).__name__}"):
        as_query(query)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gone.jpg", "No such file"), (".", "Is a directory"), ("a\0b", "null byte"), ("~no-such-user/a", "No such file")],
)
def test_a_query_image_that_can_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError, match=f"can't be read: .*{reason}") as refused:
        as_query(name)
    assert refused.value.status == "unreadable"
    assert name in str(refused.value)


def test_an_image_of_too_many_bytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # A hole of a tebibyte, which no one can read into memory.
    for query in (path, b"x" * 1_001, np.zeros((20, 20, 3), np.uint8)):
        with pytest.raises(ImageError, match=r"bytes; the most is 1,000 \(the setting max_query_bytes\)") as refused:
            as_query(query, 1_000)
        assert refused.value.status == "oversized"
    assert as_query(b"x" * 1_000, 1_000).image == b"x" * 1_000


def test_a_query_image_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="it is no regular file"):
        as_query(tmp_path / "pipe.jpg")
