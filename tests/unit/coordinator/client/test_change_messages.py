"""What a program gives becomes a message, or a sentence about what can't be one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.client.change_messages import adding, deleting, updating
from shared.errors import UsageError
from shared.messages.changes import NewImage


def test_paths_are_absolute_and_bytes_have_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    message = adding("job", ["a.png", Path("b.png"), "s3://x/c.png", "t.tar::d.png", ("e.png", b"1")], None, None, None)
    assert message.images == (
        NewImage(f"{tmp_path}/a.png"),
        NewImage(f"{tmp_path}/b.png"),
        NewImage("s3://x/c.png"),
        NewImage(f"{tmp_path}/t.tar::d.png"),
        NewImage("", "e.png", b"1"),
    )
    assert message.request != adding("job", ["a.png"], None, None, None).request
    assert adding("job", ["a.png"], [{"year": 1}], None, "mine").request == "mine"


def test_vectors_are_sent_at_length_one() -> None:
    message = adding("job", np.array([[3.0, 4.0], [0.0, 2.0]]), None, ["a", "b"], None)
    assert message.vectors is not None
    assert message.vectors.dtype == np.float16
    np.testing.assert_allclose(message.vectors, np.array([[0.6, 0.8], [0.0, 1.0]]), atol=1e-3)
    one = updating("job", np.int64(3), np.array([0.0, 5.0]), None, None)
    assert (one.ids, len(one)) == ((3,), 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("a.png", "come as a list"),
        ([b"bytes"], "as .name, bytes."),
        ([("x.png", b"")], "has no bytes"),
        ([("a/x.png", b"1")], "can't name an image"),
        ([("x.png", "text")], "can't be added"),
        ([5], "can't be added"),
        ([""], "can't be added"),
        ([], "nothing to add"),
        (np.ones(3), r"float \[n, d\]"),
        (np.ones((2, 3), int), r"float \[n, d\]"),
        (np.array([[1.0, 0.0], [0.0, 0.0]]), "The vector 1 of 2 is zero"),
        (["x.png"] * 10_001, "10,001 images came in one call"),
    ],
)
def test_what_can_not_be_added_is_said_before_it_is_sent(given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        adding("job", given, None, None, None)


def test_ids_are_whole_numbers_and_paths_are_of_vectors() -> None:
    assert deleting("job", np.array([3, 1]), None).ids == (3, 1)
    wrong: list[Any] = [[1.0], [-1], ["1"], [True], 5, "12"]
    for ids in wrong:
        with pytest.raises(UsageError):
            deleting("job", ids, None)
    with pytest.raises(UsageError, match="paths name vectors"):
        adding("job", ["a.png"], None, ["b"], None)
    with pytest.raises(UsageError, match="nothing to update"):
        updating("job", 1, None, None, None)
    with pytest.raises(UsageError, match="the metadata of 1"):
        adding("job", ["a.png", "b.png"], [{}], None, None)
