"""The whole benchmark in small: every method, the pairs, the tables."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.support import program
from benchmarks.truth import run, tables
from benchmarks.truth.queries.alterations import KINDS
from benchmarks.truth.queries.collection import draw
from shared.models.preprocessing import REDUCED
from tests.support.benchmark_tables import HEADER
from tests.support.embedders import FakeEmbedder
from tests.support.images.textured import write_textured


@pytest.mark.slow
def test_a_small_run_measures_every_method_and_makes_every_table(tmp_path: Path) -> None:
    write_textured(tmp_path / "photos", 16, 150, 200)
    kinds = tuple(kind for kind in KINDS if kind.name in run.SMALL_KINDS)
    results: dict[str, Any] = HEADER | {"photographs": "made", "model": "made@0"}
    steps: list[int] = []
    photos = draw(tmp_path / "photos", run.SMALL.originals, run.SMALL.others)
    queries = run.measure(
        photos, run.SMALL, kinds, FakeEmbedder(), REDUCED, results, lambda: steps.append(len(results))
    )
    assert len(queries) == 8
    assert results["searched"] == 12
    methods = results["methods"]
    verified = [name for name in methods if name.endswith("verified")]
    assert verified == ["cosine, verified", "cosine, 6 views, verified"]
    for name in verified:
        (rule,) = methods[name]["rules"]
        assert (rule["queries"], rule["false"], rule["wrong"]) == (8, 0, [])
        assert rule["by_alteration"]["jpeg quality 20"] == {
            "queries": 4, "r_at_1": 1.0, "r_at_10": 1.0, "recognised": 1.0, "false": 0, "false_per_1000": 0.0,
        }  # fmt: skip
        assert rule["verdicts"]["jpeg quality 20"] == {"same pixels": 1.0}
    assert {name: found["pairs"] for name, found in results["pairs"].items()} == {
        "nearest by the model": 20, "nearest surroundings": 10,
    }  # fmt: skip
    assert {name: found["pairs"] for name, found in results["pixels"].items()} == {
        "photographs with each other": 66, "altered copies with other photographs": 44,
    }  # fmt: skip
    assert sum(found["false"] for found in [*results["pairs"].values(), *results["pixels"].values()]) == 0
    assert len(steps) == len(methods) + 4
    # Those that only the group of packages `peers` brings are measured, or it is said that they are not.
    assert len(methods) + len(results["not_measured"]) == 8
    program.write(tmp_path / "truth.json", results)
    assert all("Not measured" not in made for made in tables.all_tables(results).values())


def test_of_a_copy_descriptor_what_no_model_has_a_part_in_is_left_out(tmp_path: Path) -> None:
    write_textured(tmp_path / "photos", 16, 150, 200)
    kinds = tuple(kind for kind in KINDS if kind.name == "jpeg quality 20")
    results: dict[str, Any] = HEADER | {"photographs": "made", "model": "made@0", "benchmark": tables.DESCRIPTOR}
    photos = draw(tmp_path / "photos", run.SMALL.originals, run.SMALL.others)
    run.measure(photos, run.SMALL, kinds, FakeEmbedder(), REDUCED, results, lambda: None)
    cosines = ["cosine", "cosine, 6 views"]
    assert list(results["methods"]) == [*cosines, *(f"{name}, verified" for name in cosines)]
    assert results["pixels"] == {}
    assert results["pairs"]["nearest by the model"]["pairs"] == 20
    assert all("Not measured" not in made for made in tables.all_tables(results).values())
