"""The benchmark of merges of 1 %, at a small size: which of them ask for all exact answers anew."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.growth import merging
from benchmarks.growth.one_size import Source
from benchmarks.support.features import Features
from shared.job.opened import OpenJob
from tests.support.make_job import make_job
from workers.merge import answers, growth
from workers.merge.growth import Former
from workers.vectors.embeddings import StoredEmbeddings


def test_merges_with_kept_answers_and_without_take_turns_and_measure_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_job(tmp_path / "job", Features(16, 1_000).block(0)[:1_000].astype(np.float32), chunk_size=500)
    monkeypatch.setattr(growth, "QUERIES", 20)
    asked: list[int] = []
    known_of = answers.known_of

    def watched(job: OpenJob, former: Former | None, stored: StoredEmbeddings) -> answers.Known:
        known = known_of(job, former, stored)
        asked.append(len(known.ids))
        return known

    monkeypatch.setattr(answers, "known_of", watched)
    merges = merging.measure(made.job, Source(Features(16, 1_000)), 10, turns=1)
    assert [merge["kind"] for merge in merges] == ["full", "kept", "asked anew"]
    assert [merge["grown"] for merge in merges] == [False, True, True]
    assert asked[0] == asked[2] == 0 < asked[1]
    assert all(merge["recall_queries"] == 20 for merge in merges[1:])
