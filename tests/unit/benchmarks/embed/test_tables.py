"""Costs and tables of the embedding benchmark say what was measured."""

import copy
from typing import Any

import pytest

from benchmarks.embed import costs, tables
from tests.support.benchmark_tables import HEADER, lines


def cost(images: int, wall: float, cpu: float) -> dict[str, Any]:
    return {"images": images, "wall_seconds": wall, "cpu_seconds": cpu}


def run(wall: float, cpu: float, rss: int = 300_000_000) -> dict[str, Any]:
    """A run over 100 images that decodes 100 and runs the model on 50 a second, of each kind."""
    parts = {"decode": cost(100, 1.0, 1.0), "model": cost(100, 2.0, 2.0)}
    return cost(100, wall, cpu) | {"peak_rss_bytes": rss, "peak_own_bytes": rss // 2, "parts": parts}


def article_run(wall: float, cpu: float) -> dict[str, Any]:
    return {key: value for key, value in run(wall, cpu, 2_000_000_000).items() if key != "parts"}


@pytest.fixture
def results() -> dict[str, Any]:
    ways = {
        "article": [article_run(8.0, 8.0), article_run(80.0, 9.0), article_run(7.0, 8.5)],
        "keras f32": [run(4.0, 6.0)] * 3,
        "openvino f32": [run(3.2, 3.1), run(3.0, 3.2), run(30.0, 9.0)],
    }
    source = {kind: [run(wall, 4.0)] for kind, wall in (("folder", 4.0), ("tar", 4.1))}
    listed = {"paths": 2_000_000, "partitions": 40, "seconds": 30.5, "cpu_seconds": 29.0}
    memory = {"peak_rss_bytes": 400_000_000, "peak_own_bytes": 200_000_000}
    measured = {
        "device": "cpu",
        "repeats": 3,
        "photographs": "photographs",
        "facts": {"precisions": ["f32"], "backend": "tensorflow", "devices": ["cpu"]},
        "ends": {"efficientnet-b0": {"images": 100, "weights": "w", "ways": costs.summed(ways, "cpu")}},
        "sources": {"b0": {"images": 100, "left_out": ["zip"], "ways": costs.summed(source, "cpu")}},
        "listing": {"list": listed | memory, "tree": listed | memory | {"peak_rss_bytes": 500_000_001}},
        "dispatch": {"embedded broker": {"partitions": 40, "seconds": 0.25, "runs": [0.2, 0.25, 0.5]}},
        "memory": {"256": {"model": "b4", "images": 256, "cpu_seconds": 9.0} | memory},
    }
    return copy.deepcopy(HEADER | measured)


def test_the_bound_is_what_decoding_and_model_allow_together() -> None:
    parts = {"decode": cost(100, 1.0, 2.0), "model": cost(50, 1.0, 2.0)}
    assert costs.bound_of(parts, "wall", "cpu") == pytest.approx(1 / (1 / 100 + 1 / 50))
    assert costs.bound_of(parts, "cpu", "cpu") == pytest.approx(1 / (1 / 50 + 1 / 25))
    # With a device of its own the model does not wait for those who decode.
    assert costs.bound_of(parts, "wall", "gpu") == 50
    assert costs.bound_of(parts, "cpu", "gpu") == costs.bound_of(parts, "cpu", "cpu")


def test_one_bad_run_does_not_decide_a_rate_a_ratio_or_a_share(results: dict[str, Any]) -> None:
    ways = results["ends"]["efficientnet-b0"]["ways"]
    ours = ways["openvino f32"]["median"]
    assert ours["images_per_second"] == pytest.approx(100 / 3.2, abs=0.01)
    assert ours["bound"] == {"wall": pytest.approx(33.33, abs=0.01), "cpu": pytest.approx(33.33, abs=0.01)}
    assert ours["share_of_bound"] == {"wall": pytest.approx(3 / 3.2, abs=1e-4), "cpu": pytest.approx(3 / 3.2, abs=1e-4)}
    assert ours["times_article_images_per_second"] == pytest.approx(8 / 3.2, abs=1e-3)
    assert ours["times_article_images_per_cpu_second"] == pytest.approx(8.5 / 3.2, abs=2e-3)
    assert ways["article"]["median"]["times_article_images_per_second"] == 1
    assert "bound" not in ways["article"]["median"]


def test_ends_and_bounds_stand_with_all_that_belongs_to_them(results: dict[str, Any]) -> None:
    made = tables.all_tables(results)
    article, _, ours = lines(made["embed-ends"])
    assert article[2:7] == ["the article's way", "12.5", "11.8", "1.00", "1.00"]
    assert ours[2:] == ["openvino f32", "31.2", "31.2", "2.50", "2.66", "300.0 MB", "150.0 MB", "31.2 33.3 3.3"]
    rows = lines(made["embed-bound"])
    assert [row[1] for row in rows] == ["keras f32"] * 2 + ["openvino f32"] * 2
    assert rows[2][2:] == ["per CPU second", "100.0", "50.0", "33.3", "31.2", "93.8%"]


def test_a_source_that_is_not_taken_is_named(results: dict[str, Any]) -> None:
    folder, tar, left_out = lines(tables.all_tables(results)["embed-sources"])
    assert folder[-2:] == ["100.0%", "100.0%"]
    assert tar[-2:] == ["97.6%", "100.0%"]
    assert left_out[1:3] == ["zip", "left out: this version takes no such source"]


def test_each_target_is_met_or_missed_by_its_own_figure(results: dict[str, Any]) -> None:
    rows = {(row[0], row[1]): row[2:] for row in lines(tables.all_tables(results)["embed-targets"])}
    model = "efficientnet-b0"
    assert rows["openvino f32, times the article's rate: at least 2.2", model] == ["2.500", "met"]
    assert rows["openvino f32, share of the bound per CPU second: at least 0.95", model] == ["0.938", "missed"]
    assert rows["openvino bf16: at least 3.5 times the article's rate", model] == ["this CPU can't", "not measured"]
    assert rows["a tar, share of the folder's rate: at least 0.95", "b0"] == ["0.976", "met"]
    assert rows["listing resident: at most 500.0 MB", "2,000,000 paths, tree"] == ["500.0 MB", "missed"]
    assert rows["listing: at most 60.00 s", "2,000,000 paths, list"] == ["30.50 s", "met"]
    assert rows["embed worker resident: at most 450.0 MB", "b4, 256 images"] == ["400.0 MB", "met"]
    assert rows["asking for the work: at most 1.00 s", "40 partitions"] == ["0.25 s", "met"]


def test_what_one_section_has_measured_stands_alone(results: dict[str, Any]) -> None:
    made = tables.all_tables({**HEADER, **{key: results[key] for key in ("facts", "repeats", "photographs")}})
    assert made.pop("embed-run") != tables.NOT_MEASURED
    assert set(made.values()) == {tables.NOT_MEASURED}
