"""What a message asks of a finer model, what an answer says of it, and the order of hits that it compared."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.errors import MessageError, ModelError, QueryError
from shared.messages.finer import Finer, Refined
from shared.messages.query import Query
from shared.messages.search import Answer, Hit, SearchJob, reply_from_json, reply_to_json
from shared.messages.verdicts import SAME_PICTURE, SIMILAR
from shared.messages.verified import best_first
from shared.models import weights_sha256
from tests.support.evidence import evidence
from tests.support.onnx_files import WORDS, means_file

PLAIN = SearchJob("job", (Query(image=b"x"),))


def wire(table: Any) -> Any:
    return json.loads(json.dumps(table))


@pytest.mark.parametrize("finer", [Finer("efficientnet-b7"), Finer("/m/a.onnx", "0" * 64, "RGB scale=1", "x pool=gem")])
def test_what_is_asked_for_travels(finer: Finer) -> None:
    assert "finer" not in PLAIN.to_json()
    assert SearchJob.from_json(wire(replace(PLAIN, finer=finer).to_json())).finer == finer
    assert SearchJob.from_json(PLAIN.to_json()).finer is None


@pytest.mark.parametrize(
    "bad", ["efficientnet-b7", {}, None, {"model": ""}, {"model": 3}, {"model": "a", "input": None},
            {"model": "a", "more": "b"}, {"model": "a\0"}, {"model": "a" * 5_000}]
)  # fmt: skip
def test_a_message_that_asks_for_something_else_is_refused(bad: Any) -> None:
    with pytest.raises(MessageError, match="finer must hold"):
        SearchJob.from_json(PLAIN.to_json() | {"finer": bad})


def test_a_model_is_named_and_a_file_that_is_here_is_known_by_its_bytes(tmp_path: Path) -> None:
    file = means_file(tmp_path / "tiny.onnx")
    assert Finer.of(file, WORDS, "vector") == Finer(str(file), weights_sha256(file), WORDS, "vector")
    assert Finer.of("efficientnet-b7", WORDS, "vector") == Finer("efficientnet-b7"), "words are of an .onnx file"
    assert Finer.of("theirs.onnx", WORDS) == Finer("theirs.onnx", None, WORDS), "it may be where the worker is"
    with pytest.raises(ModelError, match="There is no model 'efficientnet-b77'"):
        Finer.of("efficientnet-b77")
    bad: Any
    for bad in ("", "a\0.onnx", 7, b"efficientnet-b7", "a" * 5_000 + ".onnx"):
        with pytest.raises(QueryError, match="expected a model's name, or the path"):
            Finer.of(bad)


TOLD = Refined("onnx@1", 100, 97, 2, "b.jpg: it is gone.", True)


def test_what_was_compared_travels() -> None:
    hits = (Hit(1, 4, "d.jpg", 0.5, finer=0.9, fused=3.5), Hit(2, 5, "e.jpg", 0.6, fused=-1.0), Hit(3, 6, "f.jpg", 0.5))
    answers = [Answer(hits, 1.0, refined=TOLD), Answer((), refined=Refined("m@1", 3, reason="No image."))]
    found = reply_from_json(wire(reply_to_json(answers)))
    assert [(one.hits, one.refined) for one in found] == [(one.hits, one.refined) for one in answers]
    assert "finer" not in hits[2].to_json()
    assert "finer" not in Answer(hits).to_json()


@pytest.mark.parametrize(
    "changes", [{"model": 3}, {"compared": -1}, {"unread": "2"}, {"is_late": 1}, {"reason": 7}, {"why_unread": []}]
)
def test_an_answer_that_says_something_else_is_refused(changes: dict[str, Any]) -> None:
    table = Answer((), refined=TOLD).to_json()
    with pytest.raises(MessageError):
        Answer.from_json(table | {"finer": table["finer"] | changes})
    hit = Hit(1, 4, "d.jpg", 0.5).to_json()
    for bad in ({"finer": "0.9"}, {"fused": [1]}, {"finer": True}):
        with pytest.raises(MessageError):
            Answer.from_json({"hits": [hit | bad], "milliseconds": 1})


def test_proven_hits_are_first_then_those_in_the_order_of_both_models_then_the_others() -> None:
    hits = [
        Hit(1, 1, "a", 0.95, SIMILAR, finer=0.2, fused=0.5),
        Hit(2, 2, "b", 0.90),
        Hit(3, 3, "c", 0.85, finer=0.9, fused=4.0),
        Hit(4, 4, "d", 0.80, SAME_PICTURE, evidence(12), finer=0.1, fused=-2.0),
        Hit(5, 5, "e", 0.99),
    ]
    assert [hit.id for hit in best_first(hits)] == [4, 3, 1, 5, 2]


def test_what_several_holders_compared_is_said_together() -> None:
    other = Refined("onnx@1", 20, 20)
    assert TOLD.and_of(other) == other.and_of(TOLD) == Refined("onnx@1", 120, 117, 2, "b.jpg: it is gone.", True)
    assert TOLD.and_of(Refined("b@1")).model == "onnx@1 and b@1"
    assert other.and_of(Refined("onnx@1", reason="A vector.")).reason == "A vector."
