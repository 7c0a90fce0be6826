import numpy as np

from benchmarks.truth.methods.compared import Compared
from benchmarks.truth.queries.collection import Query


def test_a_score_is_judged_where_one_in_a_thousand_is_false_and_as_published() -> None:
    bits = np.where(np.random.default_rng(0).random((6, 64)) < 0.5, -1, 1).astype(np.float32)
    method = Compared("hash", "made", lambda f: bits[:, None], lambda f: bits[:, None], 8, bits=64, published=-3)
    asked = [Query(number, "flip", b"") for number in range(6)]
    method.vectors = bits
    assert method.scores(asked).diagonal().tolist() == [0] * 6
    measured, published = method.judge(asked)
    assert published.says == "at most 3 bits, as published"
    assert measured.says.endswith("bits, 1 false in 1,000")
    for rule in (measured, published):
        assert [(outcome.rank, outcome.said, outcome.wrong) for outcome in rule.outcomes] == [
            (1, "same picture", None)
        ] * 6
