import json
import math
from pathlib import Path
from typing import Any

import pytest

from coordinator.doctor import estimate
from coordinator.doctor.estimate import merge_memory, predict, quarter_rates

MEASURED = Path(__file__).parents[4] / "benchmarks" / "results" / "index.json"


def two_million(**changes: Any) -> estimate.Prediction:
    known: dict[str, Any] = {
        "images": 2_000_000,
        "marks": [(250, 2.5), (500, 5.0), (1_000, 10.0)],
        "dim": 1_792,
        "path_bytes": 60.0,
        "index_bytes": 150_000_000,
        "partition_size": 50_000,
        "chunk_size": 500,
        "list_seconds": 60.0,
        "model_seconds": 20.0,
        "embed_memory": 300_000_000,
    }
    return predict(**known | changes)


def test_the_numbers_of_the_whole_are_those_of_the_documented_formulas() -> None:
    found = two_million()
    assert found.rate == 100.0
    assert (found.low, found.seconds, found.high) == (20_080.0, 20_080.0, 20_080.0)
    assert found.embeddings == 2_000_000 * 2 * 1_792 + 40 * 128
    assert found.metadata == 2_000_000 * (50 + 20 + 20)
    assert found.index == 150_000_000 + 2_000_000 * (12 + 60)
    assert found.kept == found.embeddings + found.metadata + found.index == 7_642_005_120
    assert found.disk == found.kept + 50_000 * (2 * 1_792 + 70)
    assert found.embed_memory == 375_000_000
    assert found.merge_memory == 320_000_000 + 300_000_000 + 160_000_000
    assert found.memory == found.embed_memory + found.merge_memory
    assert found.sessions == 1


def test_features_take_their_bytes_and_those_of_their_row() -> None:
    found, without = two_million(feature_bytes=4_000.5), two_million()
    assert (found.features, without.features) == (2_000_000 * 4_040.5, 0)
    assert found.kept == without.kept + found.features
    assert found.disk == without.disk + found.features + 50_000 * 4_040.5


def test_while_a_large_index_is_saved_it_lies_there_twice() -> None:
    found = two_million(index_bytes=10**9)
    assert found.disk == found.kept + 10**9


@pytest.mark.parametrize(
    ("rate", "sessions"),
    # A session is good for 12 h, less 20 s for the model and two chunks of 500: 43,170 s at 100 a second.
    [(100.0, 1), (46.0, 2), (10.0, 5), (1.0, 48), (0.02, None)],
)
def test_sessions_lose_the_time_of_the_model_and_two_chunks_each(rate: float, sessions: int | None) -> None:
    assert two_million(marks=[(1_000, 1_000 / rate)]).sessions == sessions


def test_a_source_that_fits_into_one_session_just_so_is_not_given_two() -> None:
    assert two_million(images=43_170 * 100).sessions == 1
    assert two_million(images=43_170 * 100 + 1).sessions == 2


def test_the_slowest_and_the_fastest_quarter_bound_the_time() -> None:
    # 100 images in each of four seconds but the third, which has 50, and the last, which has 200.
    marks = [(100, 1.0), (200, 2.0), (250, 3.0), (450, 4.0)]
    assert quarter_rates(marks) == (50.0, 200.0)
    found = two_million(images=4_500, marks=marks)
    assert found.rate == 112.5
    assert (found.low, found.seconds, found.high) == (80 + 4_500 / 200, 80 + 40.0, 80 + 4_500 / 50)


def test_between_two_marks_images_come_evenly() -> None:
    assert quarter_rates([(80, 8.0)]) == (10.0, 10.0)
    assert quarter_rates([(10, 6.0), (100, 8.0)]) == (pytest.approx(10 / 6), 45.0)


def test_a_quarter_in_which_nothing_came_has_no_end() -> None:
    found = two_million(marks=[(0, 3.0), (8, 4.0)])
    assert found.high == math.inf
    assert found.seconds == 80 + 1_000_000


@pytest.mark.parametrize("marks", [[], [(0, 0.0)], [(0, 5.0)], [(5, 0.0)]])
def test_without_an_image_that_was_timed_there_is_no_prediction(marks: list[tuple[int, float]]) -> None:
    with pytest.raises(ValueError, match="at least one image"):
        two_million(marks=marks)


def test_the_memory_of_a_merge_is_never_less_than_what_was_measured_and_not_far_above() -> None:
    compared = 0
    for size in json.loads(MEASURED.read_text())["sizes"].values():
        for build in size["builds"]:
            said = merge_memory(size["import"]["rows"], build["index_bytes"])
            assert build["peak_rss_bytes"] <= said <= 1.6 * build["peak_rss_bytes"], build["factory"]
            compared += 1
    assert compared > 10
