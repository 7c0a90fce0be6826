"""The steps of the benchmark of shards, in the process of the test: a build is measured part by part."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.growth import shard_steps, shards
from shared.job.directory import JobDir
from tests.support.make_job import clustered, make_job


def test_a_build_is_measured_part_by_part_and_finds_what_one_file_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_job(tmp_path / "job", clustered(1_200, 16), partition_size=500, chunk_size=500)
    np.save(tmp_path / "queries.npy", clustered(20, 16, seed=4))

    def run_module(module: str, step: str, job: Path, *arguments: Any) -> Any:
        assert module == shard_steps.__name__
        if step == "merge":
            return shard_steps.merged(JobDir.at(job))
        if step == "search":
            return shard_steps.searched(JobDir.at(job), np.load(arguments[0]))
        monkeypatch.setattr("sys.argv", ["shard_steps", step, str(job), *map(str, arguments)])
        shard_steps.main()
        return None

    monkeypatch.setattr(shards, "run_module", run_module)
    found = shards.measure(made.job, tmp_path / "queries.npy", [1, 2], [1])
    assert [(build["shards"], len(build["index_bytes"])) for build in found] == [(1, 1), (2, 2)]
    assert found[0]["seconds"] == {}
    assert set(found[1]["seconds"]) == {"trained", "filled", "measured"}
    assert found[0]["recall_at_10"] == pytest.approx(found[1]["recall_at_10"], abs=0.05)
    assert '{"left": []}' in capsys.readouterr().out
