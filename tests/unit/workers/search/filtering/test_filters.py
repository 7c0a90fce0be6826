import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from shared.errors import CorruptFile, QueryError
from shared.messages.filter import Filter
from shared.storage.parquet import read_table
from tests.support.make_job import MadeJob, make_job
from workers.search.filtering import expressions, filters
from workers.search.filtering.filters import Filters

FAILED = {2, 30}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeJob:
    return make_job(tmp_path_factory.mktemp("filters") / "job", failed=FAILED)


@pytest.fixture
def asked(made: MadeJob) -> Filters:
    return Filters(made.ids, [made.job.metadata(number) for number in range(made.job.partition_count)])


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("id < 4", [0, 1, 3]),
        ("id IN (7, 5, 2, 59) -- 2 failed", [5, 7, 59]),
        ("id between 29 and 31", [29, 31]),
        ("IMAGE_PATH like '%0000048.jpg' or images.id = 9", [9, 48]),
        ("width = 8 and height < 9 and bytes >= 300 and id % 20 = 0", [0, 20, 40]),
        ("lower(sha256) = repeat_not or true", None),
        ("starts_with(image_path, 'photos/é 000000') and not id > 1", [0, 1]),
        ("CASE WHEN id = 6 THEN true END", [6]),
        ("id::varchar = '11' OR coalesce(sha256, '') = ''", [11]),
        ("id < 2 /* a comment */", [0, 1]),
    ],
)
def test_an_expression_chooses_the_images_that_it_is_true_of(asked: Filters, where: str, ids: list[int] | None) -> None:
    if ids is None:
        with pytest.raises(QueryError, match="repeat_not"):
            asked.chosen(Filter(where=where))
    else:
        assert asked.chosen(Filter(where=where)).ids.tolist() == ids


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("width", "'width' is INTEGER, not true or false"),
        ("width >", "can't be read: syntax error"),
        ("colour = 'red'", r'Referenced column "colour" not found.*\. The columns are id, image_path, width, .*\.$'),
        ("id > 'many'", "can't be asked of the metadata: Conversion Error"),
        ("true; drop table images", "can't be read"),
        ("true); DROP TABLE images; SELECT (true", "can't be read: Only SELECT"),
        ("true); SELECT (true", "more than one expression"),
        ("true) UNION SELECT 1 WHERE (true", "more than one expression"),
        ("true) LIMIT (1", "more than one expression"),
        ("true) GROUP BY (id", "more than one expression"),
        ("id IN (SELECT id FROM images)", "more than one expression"),
        ("exists(FROM read_text('/etc/hostname'))", "more than one expression"),
        ("count(*) > 1", "calls count_star"),
        ("length(repeat('a', 1000000000)) > 1", r"calls repeat; it may call abs, .* year\.$"),
        ("getenv('HOME') = 'x'", "calls getenv"),
        ("id > ?", "can't be asked of the metadata"),
        ("id < 0", "matches none of the 58 embedded images"),
        ("true /*", "can't be read"),
    ],
)
def test_what_is_no_expression_over_an_image_says_why(asked: Filters, where: str, sentence: str) -> None:
    with pytest.raises(QueryError, match=sentence) as refused:
        asked.chosen(Filter(where=where))
    assert "\n" not in str(refused.value).replace(repr(where), "")


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("(" * 2_000 + "true" + ")" * 2_000, "expression depth"),
        ("not " * 1_000 + "true", "expression depth"),
        ("[" * 2_000 + "]" * 2_000 + " = []", "expression depth"),
        ("regexp_matches(image_path, '(a+)+$')", "matches none"),
        ("image_path similar to '(a|a)*b'", "matches none"),
        ("image_path like '" + "%a" * 1_900 + "'", "matches none"),
        ("regexp_matches(image_path, '((a{1,1000}){1,1000}){1,1000}')", "invalid repetition size"),
        ("lpad(image_path, 2000000000, 'x') = ''", "calls lpad"),
        ("len(list_transform(range(100000000), x -> x)) > 1", "it may call"),
        ("id = 1\x00 or true", "can't be read"),
    ],
)
def test_an_expression_that_is_to_take_for_ever_ends_in_a_sentence(asked: Filters, where: str, sentence: str) -> None:
    with pytest.raises(QueryError, match=sentence):
        asked.chosen(Filter(where=where))


def test_ids_are_looked_up_among_the_embedded_images(asked: Filters) -> None:
    assert asked.chosen(Filter(ids=np.array([9, 3, 9]))).ids.tolist() == [3, 9]
    with pytest.raises(QueryError, match=r"names 3 image ids, and 2 of them have no embedding.* such as 30"):
        asked.chosen(Filter(ids=np.array([3, 30, 60])))


def test_an_expression_is_asked_once_until_others_push_it_out(asked: Filters, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counting(path: Path, columns: list[str]) -> pa.Table:
        read.append(path)
        return read_table(path, columns)

    monkeypatch.setattr(expressions, "read_table", counting)
    first = asked.chosen(Filter(where="id > 5"))
    assert asked.chosen(Filter(where="id > 5")) is first
    assert len(read) == 3
    for number in range(filters._KEPT):
        asked.chosen(Filter(where=f"id > {number + 6}"))
    assert asked.chosen(Filter(where="id > 5")).ids.tolist() == first.ids.tolist()
    assert len(read) == 3 * (filters._KEPT + 2)


def test_only_the_columns_that_are_named_are_read(asked: Filters, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[str]] = []

    def counting(path: Path, columns: list[str]) -> pa.Table:
        read.append(columns)
        return read_table(path, columns)

    monkeypatch.setattr(expressions, "read_table", counting)
    asked.chosen(Filter(where="HEIGHT = 8 and images.width = 8"))
    asked.chosen(Filter(where="true"))
    assert read == [["id", "width", "height"]] * 3 + [["id"]] * 3


def test_work_that_takes_too_long_ends(asked: Filters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MOST_SECONDS", -1.0)
    with pytest.raises(QueryError, match=r"'id > 5' took over -1 s: ask for less"):
        asked.chosen(Filter(where="id > 5"))


def test_without_duckdb_ids_still_filter(asked: Filters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(QueryError, match=r"no DuckDB: install lookalike\[worker\].* image ids"):
        asked.chosen(Filter(where="id > 5"))
    assert asked.chosen(Filter(ids=np.array([3]))).ids.tolist() == [3]


def test_damaged_metadata_is_said_to_be_so(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    path = made.job.metadata(1)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptFile, match="metadata_0001"):
        Filters(made.ids, [made.job.metadata(number) for number in range(3)]).chosen(Filter(where="id > 5"))
