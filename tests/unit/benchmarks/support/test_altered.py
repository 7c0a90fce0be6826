"""Altered copies: which photographs are drawn, and what counts as found."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.support import altered
from shared.errors import UsageError
from shared.messages.search import Answer, Hit
from tests.support.make_job import image_path, make_job


def answer(*hits: tuple[int, float]) -> Answer:
    """An answer whose hits are these image ids and similarities, in order."""
    return Answer(tuple(Hit(rank, number, image_path(number), alike) for rank, (number, alike) in enumerate(hits, 1)))


def test_the_rank_is_that_of_the_original_and_0_beyond_the_hits() -> None:
    found = answer((7, 0.9), (3, 0.8))
    assert [altered.rank_of(number, found) for number in (7, 3, 5)] == [1, 2, 0]


def test_agreement_counts_the_true_hits_that_were_found() -> None:
    truth = answer((1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6))
    assert altered.agreement(truth, truth) == (4, 4)
    assert altered.agreement(answer((1, 0.9), (3, 0.7), (8, 0.5), (9, 0.4)), truth) == (2, 4)
    assert altered.agreement(answer((1, 0.9)), truth) == (1, 4)


def test_a_hit_as_similar_as_the_last_true_one_counts_too() -> None:
    truth = answer((1, 0.9), (2, 0.6))
    assert altered.agreement(answer((1, 0.9), (5, 0.6)), truth) == (2, 2)
    assert altered.agreement(answer((1, 0.9), (5, 0.59)), truth) == (1, 2)


def test_a_miss_says_what_was_found_instead_below_the_folder(tmp_path: Path) -> None:
    original = altered.Original(3, tmp_path / "photos" / "é 0000003.jpg", np.zeros(2, np.float32))
    hits = tuple(
        Hit(rank, number, str(tmp_path / image_path(number)), 1 - rank / 10) for rank, number in ((1, 7), (2, 3))
    )
    told = altered.miss(original, Answer(hits), tmp_path)
    assert (told["original"], told["first"]) == ("photos/é 0000003.jpg", "photos/é 0000007.jpg")
    assert (told["rank"], told["similarity"], told["first_similarity"]) == (2, 0.8, 0.9)
    nowhere = altered.miss(altered.Original(5, original.path, original.vector), Answer(hits), tmp_path)
    assert (nowhere["rank"], nowhere["similarity"]) == ("beyond 10", None)


def test_the_drawn_photographs_are_embedded_ones_with_their_own_path_and_vector(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", failed=(0, 30, 59))
    drawn = altered.draw(made.job, 40)
    assert len({original.id for original in drawn}) == 40
    rows = {image: row for row, image in enumerate(made.ids.tolist())}
    for original in drawn:
        assert original.path == Path(image_path(original.id))
        assert np.array_equal(original.vector, made.embeddings[rows[original.id]].astype(np.float32))
    ids = [[original.id for original in altered.draw(made.job, 40, seed)] for seed in (0, 1)]
    assert ids[0] == [original.id for original in drawn]
    assert ids[1] != ids[0]
    with pytest.raises(UsageError, match="57"):
        altered.draw(made.job, 58)


def test_percentiles_are_the_middle_and_the_far_end() -> None:
    assert altered.percentiles([float(value) for value in range(101)]) == {"p50": 50.0, "p99": 99.0}
