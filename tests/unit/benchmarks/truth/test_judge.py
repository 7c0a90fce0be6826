import numpy as np

from benchmarks.truth import judge
from benchmarks.truth.judge import Outcome
from benchmarks.truth.queries.collection import Query

SCORES = np.array([[0.9, 0.5, 0.1], [0.3, 0.8, 0.8], [0.2, 0.7, 0.6]], np.float32)
ORIGINALS = np.array([0, 1, 2])
QUERIES = [Query(0, "flip", b""), Query(1, "grey", b""), Query(2, "flip", b"")]


def test_the_rank_counts_what_is_as_like_as_the_original_before_it() -> None:
    assert judge.ranks(SCORES, ORIGINALS).tolist() == [1, 2, 2]


def test_the_best_of_the_others_is_what_is_found_when_the_original_is_absent() -> None:
    places, best = judge.best_others(SCORES, ORIGINALS)
    assert places.tolist() == [1, 2, 1]
    assert best.tolist() == np.array([0.5, 0.8, 0.7], np.float32).tolist()


def test_the_threshold_lets_as_many_wrong_ones_pass_as_are_allowed_and_no_more() -> None:
    best = np.random.default_rng(0).random(4_000, dtype=np.float32)
    at = judge.threshold(best)
    assert (best >= np.float32(at)).sum() == 4
    assert (SCORES.max(axis=1) >= judge.threshold(SCORES.max(axis=1))).sum() == 0
    bits = -np.repeat(np.arange(10, 50, dtype=np.float32), 50)
    assert (bits >= np.float32(judge.threshold(bits))).sum() == 0


def test_what_reaches_the_threshold_is_recognised_and_what_does_wrongly_is_false() -> None:
    found = judge.by_threshold(SCORES, ORIGINALS, 0.65)
    assert [outcome.said for outcome in found] == ["same picture", "same picture", None]
    assert [outcome.wrong for outcome in found] == [None, 2, 1]
    assert found[2].proof == "score 0.7000"


def test_the_figures_are_shares_over_all_and_by_alteration() -> None:
    outcomes = [Outcome(1, "same pixels"), Outcome(11, None, 2, "why"), Outcome(2, "same picture")]
    found = judge.figures(QUERIES, outcomes)
    assert (found["queries"], found["r_at_1"], found["r_at_10"], found["recognised"]) == (3, 0.3333, 0.6667, 0.6667)
    assert (found["false"], found["false_per_1000"]) == (1, 333.333)
    assert found["by_alteration"]["flip"]["r_at_1"] == 0.5
    assert found["by_alteration"]["grey"]["false"] == 1
    assert judge.figures(QUERIES[:1], [Outcome(0, None)])["r_at_10"] == 0
    assert judge.verdicts(QUERIES, outcomes) == {
        "flip": {"same picture": 0.5, "same pixels": 0.5},
        "grey": {"none": 1.0},
    }
    assert judge.wrong(QUERIES, outcomes, ["a", "b", "c"]) == [
        {"original": "b", "alteration": "grey", "called_the_same": "c", "proof": "why"}
    ]
