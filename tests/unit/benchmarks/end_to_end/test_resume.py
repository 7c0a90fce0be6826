"""The benchmark of resuming: which chunks it takes for written again."""

from pathlib import Path

from benchmarks.end_to_end.resume import Chunks
from shared.job.directory import JobDir
from tests.support.make_job import make_job


def test_a_chunk_that_is_written_again_is_noticed(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", sealed=())
    job: JobDir = made.job
    chunks = Chunks(job)
    assert chunks.look() == 0
    job.chunk_dir(0).mkdir(parents=True)
    job.chunk(0, 0).write_bytes(b"first")
    job.chunk(0, 1).write_bytes(b"second")
    assert (chunks.look(), chunks.rewritten) == (2, 0)
    job.chunk(0, 1).rename(tmp_path / "kept")
    assert (chunks.look(), chunks.rewritten) == (2, 0)
    job.chunk(0, 1).write_bytes(b"second")
    assert (chunks.look(), chunks.rewritten) == (2, 1)
