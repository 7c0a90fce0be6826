from pathlib import Path

import pytest

from benchmarks.query import removed
from benchmarks.support import made_jobs, program
from benchmarks.support.features import Features

pytestmark = pytest.mark.slow


def test_every_case_is_measured_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removed, "RUNS", 1)
    features = Features(16, 4_000)
    job, _ = made_jobs.imported(tmp_path, 4_000, made_jobs.write_features(features, tmp_path / "given"))
    found = removed.measure(job, features.fresh(20), near=4)
    counts = {one["case"]: one["removed"] for one in found["removed"]}
    anywhere = ["10 % anywhere", "50 % anywhere", "85 % anywhere"]
    assert list(counts) == ["nothing", *anywhere, "the 20 nearest", "the 100 nearest"]
    assert (counts["nothing"], counts["10 % anywhere"], counts["50 % anywhere"]) == (0, 400, 2_000)
    assert 20 < counts["the 20 nearest"] <= 80 < counts["the 100 nearest"] <= 400
    assert {one["case"]: one["filtered"] for one in found["filtered"]} | {"nothing": 0} == counts
    assert all(one["recall_at_10"] > 0.8 and one["warm_ms"]["p50"] > 0 for way in found.values() for one in way)
    results = program.head("query-removed", "a command") | {"rows": 4_000, "dim": 16, "wall_seconds": 3}
    shown = removed.removed_tables(results | found)
    assert "| the 100 nearest |" in shown["query-removed"]
    assert "| 85 % anywhere   |" in shown["query-filtered"]
