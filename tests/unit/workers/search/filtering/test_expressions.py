"""Expressions over the metadata in a process of their own, as `delete --where` asks for them."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.make_job import MadeJob, make_job
from workers.search.filtering import expressions, filters


@pytest.fixture
def made(tmp_path: Path) -> MadeJob:
    """60 images in partitions of 25, of which the last is not sealed."""
    return make_job(tmp_path / "job", failed={2}, sealed=[0, 1])


@pytest.fixture
def asked(made: MadeJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the process of an expression in this one: its exit status, and the objects that it prints."""

    def ask(where: object) -> tuple[int, list[dict[str, Any]]]:
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"where": where})))
        status = expressions.main([str(made.job.path)])
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return ask


def ids_of(said: dict[str, Any]) -> list[int]:
    return np.frombuffer(base64.b64decode(said["ids"]), "<i8").tolist()


def test_the_ids_of_each_sealed_partition_are_a_line(asked: Any) -> None:
    status, (first, second, last) = asked("id < 4 or id > 48")
    assert (first["partition"], ids_of(first)) == (0, [0, 1, 3])
    assert (second["partition"], ids_of(second)) == (1, [49])
    assert (status, last) == (0, {"result": {"partitions": 2}})


def test_the_time_of_a_query_is_no_limit_here(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MOST_SECONDS", -1.0)
    assert asked("id = 0")[0] == 0


@pytest.mark.parametrize(
    ("where", "kind", "sentence"),
    [
        ("colour = 1", "QueryError", '"colour" not found'),
        ("width", "QueryError", "not true or false"),
        (" ", "QueryError", "that are not all blank"),
    ],
)
def test_what_can_not_be_asked_is_an_error_for_the_caller(asked: Any, where: str, kind: str, sentence: str) -> None:
    status, said = asked(where)
    assert (status, said[-1]["error"]["kind"]) == (1, kind)
    assert sentence in said[-1]["error"]["message"]


def test_a_damaged_file_is_an_error_for_the_caller(made: MadeJob, asked: Any) -> None:
    path = made.job.metadata(1)
    path.write_bytes(path.read_bytes()[:-9])
    status, (first, last) = asked("id = 0")
    assert (status, ids_of(first), last["error"]["kind"]) == (1, [0], "CorruptFile")
