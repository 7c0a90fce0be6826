import json
from pathlib import Path

import pytest

from shared.errors import CorruptFile
from shared.job.index.answers import ANSWERS_FILE, ExactAnswer, ExactAnswers, answers_of, read_answers, write_answers
from shared.job.index.builds import IndexInfo
from shared.job.opened import OpenJob
from shared.storage import files
from tests.support.builds import build
from tests.support.make_job import make_job

BUILD = "0001-ab12cd34"
QUERIES = [ExactAnswer(3, [5, 4], [0.5, 0.25]), ExactAnswer(5, [], [])]


@pytest.fixture
def made(tmp_path: Path) -> tuple[OpenJob, IndexInfo]:
    job = make_job(tmp_path / "job").job
    return job, build(job, BUILD)


def test_answers_are_read_as_they_were_written(made: tuple[OpenJob, IndexInfo]) -> None:
    job, info = made
    assert read_answers(job, info) is None
    write_answers(job, ExactAnswers.of(info, QUERIES))
    assert answers_of(job, info) == read_answers(job, info) == ExactAnswers.of(info, QUERIES)
    assert files.is_whole((job.build_dir(BUILD) / ANSWERS_FILE).read_bytes()), "or every reader waits for the rest"


@pytest.mark.parametrize(
    "queries",
    [
        [*QUERIES, QUERIES[0]],
        [ExactAnswer(3, [5, 3], [0.5, 0.25])],
        [ExactAnswer(3, [5, 5], [0.5, 0.25])],
        [ExactAnswer(3, [5, 4], [0.5])],
        [ExactAnswer(3, [5, 4.0], [0.5, 0.25])],  # type: ignore[list-item]
        [ExactAnswer(3, [5, 4], [0.5, float("nan")])],
    ],
    ids=["a query twice", "itself", "an image twice", "a similarity less", "no id", "no number"],
)
def test_what_no_search_answers_is_damage_whatever_its_checksum(
    made: tuple[OpenJob, IndexInfo], queries: list[ExactAnswer]
) -> None:
    job, info = made
    write_answers(job, ExactAnswers.of(info, queries))
    with pytest.raises(CorruptFile, match="does not hold the exact answers of the build"):
        read_answers(job, info)
    assert answers_of(job, info) is None


def test_a_file_that_is_no_text_is_damage(made: tuple[OpenJob, IndexInfo]) -> None:
    job, info = made
    write_answers(job, ExactAnswers.of(info, QUERIES))
    path = job.build_dir(BUILD) / ANSWERS_FILE
    path.write_bytes(b"\x80" + path.read_bytes())
    with pytest.raises(CorruptFile):
        read_answers(job, info)
    path.write_text(json.dumps({"version": 2}) + "\n")
    assert read_answers(job, info) is None
