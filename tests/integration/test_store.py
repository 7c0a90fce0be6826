"""A job in a bucket, behind a server with the interface of Amazon S3: the commands as typed, with real processes."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import fsspec.asyn
import pytest

from coordinator.integrity.findings import Checked
from coordinator.integrity.verify import verify
from coordinator.jobs.progress import ProgressReader
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.storage import drivers
from tests.integration.faults.bench import bytes_of
from tests.integration.faults.faults import Faults
from tests.support.images.photographs import make_photos
from tests.support.processes import Process, environment, free_port, run, wait_until

pytestmark = pytest.mark.timeout(600)


class Bucket:
    """A bucket in a server of moto's, in a process of its own."""

    def __init__(self, server: Process, env: dict[str, str]) -> None:
        self.server, self.env = server, env
        self._seen = 0

    def asked(self, method: str, pattern: str) -> list[str]:
        """The objects whose name matches that were asked for by `method` since the last call of this."""
        lines = self.server.output
        found = re.findall(rf'"(?:\x1b\[\d+m)*{method} /bucket/({pattern})[? ]', lines[self._seen :])
        self._seen = len(lines)
        return found


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    port = free_port()
    keys = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "lookalike-key",
        "AWS_SECRET_ACCESS_KEY": "hunter2-hunter2",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    drivers.file_system.cache_clear()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = Process(command, tmp_path / "s3.log", environment())
    own = fsspec.filesystem("s3", skip_instance_cache=True)
    try:
        wait_until(lambda: "Running on" in server.output, "the S3 server answers")
        own.mkdir("bucket")
        yield Bucket(server, environment(LOOKALIKE_JOB_CACHE_DIR=str(tmp_path / "cache")))
        for system in (own, drivers.file_system("s3")):
            # What its finalizer does, which waits for a tenth of a second and leaves the rest to whoever comes next.
            if (creator := getattr(system, "_s3creator", None)) is not None:
                fsspec.asyn.sync(system.loop, creator.__aexit__, None, None, None, timeout=60)
    finally:
        server.stop()
        drivers.file_system.cache_clear()


def test_a_job_in_a_bucket_survives_a_kill_and_is_searched_from_copies(bucket: Bucket, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 40, (48, 64))
    faults = Faults(tmp_path / "faults")
    killed = faults.on_step("commit_chunk", do="kill", after=2, times=1)
    env = bucket.env | faults.environment(light=True)
    url = "s3://bucket/jobs/photos"
    job = JobDir.at(url)

    indexed = run("index", tmp_path / "photos", url, "--chunk-size", "8", env=env)
    assert indexed.returncode == 0, indexed.stderr
    assert killed.reached == 1
    assert "ended with signal SIGKILL; started it anew" in indexed.stderr
    # The two chunks before the kill were not embedded again.
    assert [name[-12:-8] for name in bucket.asked("PUT", r"jobs/photos/chunks/\S+")] == [f"{n:04d}" for n in range(5)]
    assert {path.relative_to(job.path).parts[0] for path, ours in job.files() if ours} == {
        "job.json", "paths", "img_emb", "metadata", "errors", "ledger", "index", "copies.parquet"
    }  # fmt: skip
    assert all(ours for _, ours in job.files())
    progress = ProgressReader(open_job(job)).read()
    assert (progress.job, progress.embedded, progress.index_is_current) == (url, 40, True)
    assert list(verify(job, Checked())) == []

    local = run("index", tmp_path / "photos", tmp_path / "jobs" / "photos", "--chunk-size", "8", env=env)
    assert local.returncode == 0, local.stderr
    assert bytes_of(job) == bytes_of(JobDir.at(tmp_path / "jobs" / "photos"))

    elsewhere = env | {"LOOKALIKE_JOB_CACHE_DIR": str(tmp_path / "elsewhere")}
    large = r"jobs/photos/(?:img_emb|metadata|index)/\S+\.(?:npy|parquet|faiss|arrow)"
    bucket.asked("GET", large)
    for first in (True, False):
        searched = run("search", url, photos[7], "-k", "3", "--json", env=elsewhere)
        assert searched.returncode == 0, searched.stderr
        (answer,) = json.loads(searched.stdout)
        assert answer["hits"][0]["image_path"] == str(photos[7])
        fetched = {name.rpartition("/")[2] for name in bucket.asked("GET", large)}
        whole = {"img_emb_0000.npy", "metadata_0000.parquet", "index.faiss", "images.arrow"}
        assert fetched == (whole if first else set())

    bucket.server.stop()
    away = run("status", url, env=env)
    assert away.returncode == 1
    assert f"lookalike: The store does not answer for {url}/job.json (" in away.stderr
    assert "hunter2" not in indexed.stderr + away.stderr
