"""The product as a method: what its hits are taken for. The searches are made up; a run makes real ones."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.truth.methods.product import Jobs, Product
from benchmarks.truth.queries.collection import Query
from shared.messages.search import Hit
from shared.messages.verdicts import SAME_BYTES, SAME_PICTURE, SIMILAR


@dataclass
class Searched:
    """A job that gives the same hits to every query, and remembers how it was asked."""

    hits: list[Hit]
    asked: list[dict[str, Any]] = field(default_factory=list)

    def search(self, data: bytes, k: int, **how: Any) -> list[Hit]:
        self.asked.append({"data": data, "k": k} | how)
        return self.hits


def jobs(folder: Path, whole: list[Hit], without: list[Hit]) -> Jobs:
    made: Any = Jobs(folder, [3], ["--model", "made"])
    made.whole, made.without = Searched(whole), Searched(without)
    return made


def test_a_verdict_counts_only_of_the_original_and_any_is_false_without_it(tmp_path: Path) -> None:
    there = [Hit(1, 3, "c.jpg", 0.7, SAME_PICTURE, None), Hit(2, 5, "e.jpg", 0.8, SIMILAR, None)]
    absent = [Hit(1, 5, "e.jpg", 0.8, SIMILAR, None), Hit(2, 4, "d.jpg", 0.5, SAME_BYTES, None)]
    method = Product(jobs(tmp_path, there, absent), "always", 6)
    assert method.name == "lookalike, always, 6 views"
    (rule,) = method.judge([Query(3, "flip", b"q"), Query(5, "flip", b"q"), Query(9, "flip", b"q")])
    told = [(outcome.rank, outcome.said, outcome.wrong) for outcome in rule.outcomes]
    assert told == [(1, SAME_PICTURE, 4), (2, None, 4), (0, None, 4)]
    assert rule.outcomes[0].proof == "same bytes: "


def test_without_the_original_the_job_is_asked_from_which_it_is_deleted(tmp_path: Path) -> None:
    made: Any = jobs(tmp_path, [], [])
    method = Product(made, "auto", 1)
    assert method.name == "lookalike, auto"
    assert Product(Jobs(tmp_path, [3], ["--model", "made"], stores=True), "auto", 1).name == "lookalike, auto, stored"
    method.ask(b"one", None)
    method.ask(b"two", 3)
    assert made.whole.asked == [{"data": b"one", "k": 10, "verify": "auto", "views": 1, "timeout": 120.0}]
    assert [asked["data"] for asked in made.without.asked] == [b"two"]
