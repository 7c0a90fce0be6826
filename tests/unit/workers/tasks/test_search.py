"""The task of the query role: whose job answers, and what a message that means another one gets."""

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from celery.worker import state

from shared.errors import AnotherJob, ImageError, JobError, SettingsError
from shared.messages.query import Query
from shared.messages.search import Answer, AnsweredBy, SearchJob, reply_from_json
from shared.messages.tasks import QUERY_QUEUE
from shared.messages.thumbnail import MakeThumbnail, thumbnail_from_json
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.duplicates import encoded, photo_job
from tests.support.make_job import MadeJob, make_job
from workers.merge.build import merge
from workers.tasks.runtime import Runtime
from workers.tasks.search import make_thumbnail, search

QUERIES = (Query(vector=np.ones(16, np.float32)), Query(vector=np.eye(16, dtype=np.float32)[0]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeJob:
    """A job with an index; leave it as it is."""
    made = make_job(tmp_path_factory.mktemp("b") / "pics")
    merge(made.job, Settings(), UNWATCHED)
    return made


def reply_to(message: SearchJob, made: MadeJob, queue: str = QUERY_QUEUE, held: str | None = None) -> list[Answer]:
    """The reply of a worker that serves the root of `made`, and is `held` to some shards, to a message of `queue`."""
    runtime = Runtime(Settings(jobs_root=made.job.jobs_root, shards=held))
    request = SimpleNamespace(id="one", hostname="query1@gpu0", delivery_info={"routing_key": queue})
    task: Any = SimpleNamespace(app=SimpleNamespace(lookalike=runtime), request=request)
    shell: Any = search
    return reply_from_json(shell.run.__func__(task, message.to_json()))


@pytest.mark.parametrize("by_name", [True, False])
def test_a_reply_says_which_job_it_is_from(by_name: bool, made: MadeJob) -> None:
    identity = None if by_name else made.job.manifest.identity
    found = reply_to(SearchJob("pics", QUERIES, identity=identity), made)
    assert [answer.answered_by for answer in found] == [AnsweredBy("query1@gpu0", str(made.job.path))] * 2
    assert [answer.error for answer in found] == [None, None]
    assert [len(answer.hits) for answer in found] == [10, 10]
    assert found[0].hits != found[1].hits


@pytest.mark.parametrize(
    ("queue", "held"), [("query.shards-0-3", None), (QUERY_QUEUE, "0-3"), ("query.shards-4", "0-3")]
)
def test_a_worker_never_answers_for_others_than_those_who_hold_the_same(
    made: MadeJob, queue: str, held: str | None
) -> None:
    for answer in reply_to(SearchJob("pics", QUERIES), made, queue, held):
        assert not answer.hits
        assert isinstance(answer.error, SettingsError)
        assert f"from the queue {queue}" in str(answer.error)


def test_a_query_to_another_job_of_the_name_gets_no_hits_but_the_reason(made: MadeJob, tmp_path: Path) -> None:
    meant = make_job(tmp_path / "a" / "pics", listed=2, sealed=[])
    found = reply_to(SearchJob("pics", QUERIES, identity=meant.job.manifest.identity), made)
    assert [answer.hits for answer in found] == [(), ()]
    for answer in found:
        assert isinstance(answer.error, AnotherJob)
        assert str(made.job.path) in str(answer.error)


def test_a_search_that_was_taken_back_is_not_begun(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "revoked", {"one"})
    answers = reply_to(SearchJob("pics", QUERIES), made)
    assert len(answers) == len(QUERIES)
    assert all("taken back" in str(answer.error) for answer in answers)


def test_a_worker_shows_no_other_bytes_than_those_that_were_embedded(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 100, 3), np.uint8)
    job = photo_job(tmp_path, {"a.png": encoded(pixels), "b.png": encoded(pixels[:, ::-1])})
    sha256 = hashlib.sha256((tmp_path / "photos" / "a.png").read_bytes()).hexdigest()
    message = MakeThumbnail("job", 0, 64, sha256, job.manifest.identity)
    task: Any = SimpleNamespace(app=SimpleNamespace(lookalike=Runtime(Settings(jobs_root=tmp_path, query_threads=1))))

    def made(message: MakeThumbnail) -> bytes:
        shell: Any = make_thumbnail
        return thumbnail_from_json(shell.run.__func__(task, message.to_json()))

    shown = cv2.imdecode(np.frombuffer(made(message), np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert shown.shape == (26, 64, 3)
    with pytest.raises(ImageError, match="another image than the one that was embedded"):
        made(replace(message, image=1))
    with pytest.raises(JobError, match="has no image 2"):
        made(replace(message, image=2))
    (tmp_path / "photos" / "a.png").unlink()
    with pytest.raises(ImageError, match="no longer there") as raised:
        made(message)
    assert raised.value.status == "vanished"
