from pathlib import Path
from typing import Any

import pytest

from coordinator.jobs.index_request import Typed
from shared.errors import CorruptFile, SettingsError, UsageError
from shared.job.directory import JobDir
from shared.job.index.request import IndexRequest, read_index_request, write_index_request
from shared.settings import Settings


@pytest.fixture
def job(tmp_path: Path) -> JobDir:
    return JobDir(tmp_path / "job")


def test_a_request_comes_back_as_it_was_written_and_goes_when_it_is_taken_back(job: JobDir) -> None:
    assert read_index_request(job) is None
    request = IndexRequest("PCAR16,IVF32,PQ4x4fs", 0.95, 10_000)
    write_index_request(job, request)
    assert read_index_request(job) == request
    write_index_request(job, None)
    assert read_index_request(job) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"index": "ivfpq"}', '{"recall": 2}', '{"colour": "red"}', "null"])
def test_a_request_that_can_not_be_read_is_named_with_what_to_do(job: JobDir, content: str) -> None:
    job.index_dir.mkdir(parents=True)
    job.index_request.write_text(content)
    with pytest.raises(CorruptFile, match=r"wish\.json .*remove it"):
        read_index_request(job)


@pytest.mark.parametrize("index", ["ivfpq", "", "faiss", "IVF 16,Flat", "ivf16,flat", "Flat\n", None, 5])
def test_an_index_that_can_not_be_is_refused_before_anything_is_done(index: object) -> None:
    with pytest.raises(SettingsError, match=r"There is no index .*rabitq.*PCAR256"):
        IndexRequest(index)  # type: ignore[arg-type]


@pytest.mark.parametrize("recall", [-0.1, 1.1, float("nan"), "0.9", True])
def test_a_recall_that_is_no_share_is_refused(recall: object) -> None:
    with pytest.raises(SettingsError, match="from 0 to 1"):
        IndexRequest(recall=recall)  # type: ignore[arg-type]


def test_what_is_typed_changes_what_was_asked_and_leaves_the_rest(job: JobDir) -> None:
    settings = Settings(recall_target=0.9)
    assert Typed().request(job, settings) is None
    assert not job.index_request.exists()
    assert Typed(index="rabitq").request(job, settings) == IndexRequest("rabitq", 0.9) == read_index_request(job)
    assert Typed(memory="1.5 MB").request(job, settings) == IndexRequest("rabitq", 0.9, 1_500_000)
    assert Typed(recall=0.97).request(job, Settings()) == IndexRequest("rabitq", 0.97, 1_500_000)
    assert Typed().request(job, settings) == IndexRequest("rabitq", 0.97, 1_500_000)


def test_shards_are_kept_with_the_request_and_a_number_takes_the_place_of_a_size(job: JobDir) -> None:
    settings = Settings()
    assert Typed(shards=8).request(job, settings) == IndexRequest(shards=8) == read_index_request(job)
    assert Typed(recall=0.9).request(job, settings) == IndexRequest(recall=0.9, shards=8)
    assert Typed(shard_memory="2GB").request(job, settings) == IndexRequest(recall=0.9, shard_bytes=2_000_000_000)
    assert Typed(shards=2).request(job, settings) == IndexRequest(recall=0.9, shards=2)
    assert Typed(shards=1).request(job, settings) == IndexRequest(recall=0.9) == read_index_request(job)


def test_a_request_of_one_file_is_written_as_it_was_before_there_were_shards() -> None:
    """Builds hold the request that they were made for: one that says more would have all of them built anew."""
    assert IndexRequest("rabitq", 0.9, 5).to_json() == {"index": "rabitq", "recall": 0.9, "memory_bytes": 5}
    assert IndexRequest(shards=2).to_json()["shards"] == 2
    assert IndexRequest.from_json(IndexRequest(shard_bytes=3).to_json()) == IndexRequest(shard_bytes=3)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"shards": 0}, "expected 1 to 1,000"),
        ({"shards": 1_001}, "expected 1 to 1,000"),
        ({"shards": True}, "expected 1 to 1,000"),
        ({"shard_bytes": -1}, "number of bytes"),
        ({"shards": 2, "shard_bytes": 5}, "ask for one of the two"),
        ({"index": "annoy", "shards": 2}, "Annoy's trees can't be shards"),
    ],
)
def test_shards_that_can_not_be_are_refused(values: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        IndexRequest(**values)


@pytest.mark.parametrize("typed", [{"shards": 2, "shard_memory": "2GB"}, {"shard_memory": "0"}])
def test_shards_that_are_typed_in_two_ways_or_of_no_size_are_refused(typed: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="shard"):
        Typed(**typed)


def test_families_are_known_in_capitals_and_factory_strings_stay_as_they_are(job: JobDir) -> None:
    assert Typed(index="HNSW").request(job, Settings()) == IndexRequest("hnsw")
    assert Typed(index="IVF-PQ").request(job, Settings()) == IndexRequest("ivf-pq")
    assert Typed(index="PCAR16,IVF32,PQ4x4fs").request(job, Settings()) == IndexRequest("PCAR16,IVF32,PQ4x4fs")


@pytest.mark.parametrize("text", ["", "lots", "5 XB", "-3MB", "1,5GB", "MB"])
def test_what_is_no_size_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        Typed(memory=text)
