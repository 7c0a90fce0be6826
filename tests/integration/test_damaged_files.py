"""Whole and damaged images of every format, in a folder and a tar, through `index` and `search` as they are typed."""

import sys
from pathlib import Path

import pytest

from benchmarks.fuzz.cases import write_cases
from benchmarks.fuzz.files import FORMATS
from benchmarks.fuzz.index import command, counts_of, in_tar_as_in_folder, rows_of, said_wrong, sampled, search
from shared.job.directory import JobDir
from tests.integration.faults.faults import light_model
from tests.support.processes import environment

pytestmark = pytest.mark.timeout(300)

MOST_BYTES = {"embed": 600 << 20, "query": 600 << 20, "decoding": 200 << 20}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak memory")
def test_damaged_files_are_rows_and_answers_with_a_sentence_and_what_is_embedded_finds_itself(tmp_path: Path) -> None:
    folder, job = tmp_path / "files", JobDir.at(tmp_path / "jobs" / "job")
    images = write_cases(folder, 4, every=2)
    job.jobs_root.mkdir()
    env = environment() | light_model()

    indexed = command(["index", folder, job.path, "--accept-failures"], tmp_path, env)
    assert said_wrong("index", indexed, 0) == []
    statuses, problems = rows_of(job)
    assert (problems, len(statuses)) == ([], images)
    assert in_tar_as_in_folder(folder, statuses) == []
    assert {path for path in statuses if "whole" in path and statuses[path] != "ok"} == set()
    assert list(counts_of(folder, statuses)) == sorted(FORMATS)
    assert {"ok", "truncated", "undecodable"} <= set(statuses.values())  # The damages reach the decoders.

    asked = [path for paths in sampled(folder, statuses, 3).values() for path in paths]
    found, problems, searched = search(job, asked, statuses, tmp_path, env)
    assert problems == []
    assert found["found"] == found["embedded"] == 3 * len(FORMATS)
    assert found["answered"] == found["failed"] > len(FORMATS)
    peaks = indexed.peaks | searched.peaks
    assert {kind: bytes for kind, bytes in peaks.items() if bytes > MOST_BYTES.get(kind, 1 << 30)} == {}
    assert peaks.keys() >= MOST_BYTES.keys()
