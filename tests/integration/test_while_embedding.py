"""A job that is being embedded for the first time is searched as far as it is, and each answer says how far."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import lookalike
from shared.job.directory import JobDir
from shared.messages.search import Searched
from tests.integration.faults.bench import is_ready
from tests.integration.faults.faults import Faults
from tests.support.images.photographs import make_photos
from tests.support.processes import Process, environment, run, wait_until

pytestmark = pytest.mark.timeout(600)


def test_a_first_embedding_is_searched_by_the_command_and_the_client_and_says_its_share(
    broker_url: str, tmp_path: Path, start: Callable[..., Process]
) -> None:
    photos = make_photos(tmp_path / "photos", 40)
    listed = tmp_path / "photos.csv"
    listed.write_text("path,kind\n" + "".join(f"{path},{i % 2}\n" for i, path in enumerate(photos)))
    job = tmp_path / "jobs" / "job"
    env = environment(LOOKALIKE_BROKER_URL=broker_url, LOOKALIKE_JOBS_ROOT=str(job.parent))
    job.parent.mkdir()
    faults = Faults(tmp_path / "faults")
    held = faults.on_step("commit_chunk", do="wait", after=5)  # Four chunks and a seal, and one chunk of the second.
    start("worker", "embed", env=env | faults.environment(light=True))
    asked = start("worker", "query", "merge", env=env | faults.environment(light=True))
    index = start("index", listed, job, "--partition-size", "20", "--chunk-size", "5", env=env)
    wait_until(lambda: is_ready(asked), "the query worker is ready")
    wait_until(lambda: held.reached, "the worker holds its sixth chunk")
    wait_until(lambda: JobDir.at(job).sealed_numbers() == [0], "the first partition is sealed")

    found = run("search", job, photos[22], photos[3], photos[39], "--json", "-k", "30", env=env)
    assert found.stderr.splitlines()[-2:] == [
        "searched 62 % of the images: 25 of 40; the others are not embedded yet",
        "25 hits instead of 30: the job has no more embedded images.",
    ]
    answers = json.loads(found.stdout)
    assert [answer["searched"] for answer in answers] == [{"images": 25, "listed": 40, "share": 0.625}] * 3
    assert [answer["hits"][0]["id"] for answer in answers[:2]] == [22, 3]
    assert {hit["id"] for hit in answers[2]["hits"]} == set(range(25))  # Its own photograph is not embedded yet.
    found = run("search", job, "22", "-k", "3", "--where", "kind = 1 and id > 17", env=env)
    assert (found.returncode, found.stderr.count("searched 62 %")) == (0, 1), found.stderr
    assert sorted(line.split("/")[-1] for line in found.stdout.splitlines()[2:]) == [
        os.path.basename(photos[number]) for number in (19, 21, 23)
    ]

    with lookalike.connect(job, broker_url) as client:
        hits = client.search(photos[22], 3)
        assert (hits[0].id, hits.searched) == (22, Searched(25, 40))
        held.lift()
        assert index.wait() == 0, index.output
        hits = client.search(photos[39], 3)
        assert (hits[0].id, hits.searched) == (39, Searched(40, 40))
    found = run("search", job, photos[39], "--json", "-k", "3", env=env)
    assert ("searched" in found.stderr, json.loads(found.stdout)[0]["searched"]["share"]) == (False, 1.0)
