from pathlib import Path

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


def test_families_are_known_in_capitals_and_factory_strings_stay_as_they_are(job: JobDir) -> None:
    assert Typed(index="HNSW").request(job, Settings()) == IndexRequest("hnsw")
    assert Typed(index="IVF-PQ").request(job, Settings()) == IndexRequest("ivf-pq")
    assert Typed(index="PCAR16,IVF32,PQ4x4fs").request(job, Settings()) == IndexRequest("PCAR16,IVF32,PQ4x4fs")


@pytest.mark.parametrize("text", ["", "lots", "5 XB", "-3MB", "1,5GB", "MB"])
def test_what_is_no_size_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        Typed(memory=text)
