"""The match page of searches: their queries as they came, their hits with pictures, and what there is none of."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.display.pages.report import Thumbnail
from coordinator.serve.page import searched as searched_module
from coordinator.serve.page.searched import Searched
from shared.errors import QueryError
from shared.job.opened import OpenJob
from shared.messages.query import Query
from shared.messages.search import Answer, Hit
from tests.support.make_job import make_job

PNG = b"\x89PNG\r\n\x1a\n and so on"


def told(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="searches">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found is not None
    table: dict[str, Any] = json.loads(found[1])
    return table


def written(folder: Path, asked: Any, answers: list[Answer], job: OpenJob | None, **more: Any) -> dict[str, Any]:
    Searched("holiday", job, asked, answers, 10, False, **more).write_page(
        folder / "match.html", {1: Thumbnail("AAAA", 4, 3)}
    )
    return told(folder / "match.html")


def hits() -> tuple[Hit, ...]:
    return (
        Hit(1, 1, "/photos/a b.jpg", 0.9, "same bytes"),
        Hit(2, 2, "/photos.tar::c.jpg", 0.5),
        Hit(3, 3, "https://photos.example/d.jpg", 0.4),
        Hit(4, 4, "s3://bucket/e.jpg", 0.3),
    )


def test_a_search_has_its_query_its_hits_and_their_pictures(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", listed=10).job
    page = written(tmp_path, [("query.png", Query(image=PNG))], [Answer(hits(), 1.0)], job)
    (search,) = page["searches"]
    assert page["job"] == "holiday"
    assert search["query"]["source"].startswith("data:image/png;base64,")
    assert [hit["id"] for hit in search["result"]["hits"]] == [1, 2, 3, 4]
    pictures = search["pictures"]
    assert [pictures[str(image)]["source"] for image in (1, 2)] == ["data:image/jpeg;base64,AAAA", None]
    originals = [pictures[str(image)]["original"] for image in (1, 2, 3, 4)]
    assert originals == ["file:///photos/a%20b.jpg", None, "https://photos.example/d.jpg", None]
    assert pictures["1"]["facts"]["width"] > 0


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (Query(np.ones(4, np.float32)), "The query has no picture."),
        (Query(image=b"\x00\x00\x00\x18ftypheic"), "Browsers don't show an image of this kind or size."),
        (Query(image=PNG + bytes(17 << 20)), "Browsers don't show an image of this kind or size."),
    ],
    ids=["vector", "kind", "size"],
)
def test_a_query_that_can_not_be_shown_says_why(tmp_path: Path, query: Query, why: str) -> None:
    (search,) = written(tmp_path, [("query", query)], [Answer(hits()[:1], 1.0)], None)["searches"]
    assert (search["query"]["source"], search["query"]["why"]) == (None, why)
    assert search["pictures"]["1"]["facts"] == {}


def test_a_query_that_failed_is_on_the_page_with_its_sentence(tmp_path: Path) -> None:
    asked = [("gone.jpg", str(tmp_path / "gone.jpg")), ("query.png", Query(image=PNG))]
    answers = [Answer(error=QueryError("It is gone.")), Answer(hits()[:1], 1.0)]
    first, second = written(tmp_path, asked, answers, None)["searches"]
    assert (first["result"]["error"], first["result"]["hits"]) == ("It is gone.", [])
    assert second["result"]["hits"][0]["id"] == 1


def test_with_match_only_what_is_proven_is_on_it(tmp_path: Path) -> None:
    page = written(tmp_path, [("query.png", Query(image=PNG))], [Answer(hits(), 1.0)], None, is_matching=True)
    assert [hit["id"] for hit in page["searches"][0]["result"]["hits"]] == [1]


def test_the_best_hits_of_all_searches_have_pictures_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searched_module, "MOST_IMAGES", 3)
    answers = [Answer(hits(), 1.0), Answer((Hit(1, 7, "/g.jpg", 0.8), Hit(2, 1, "/photos/a b.jpg", 0.7)), 1.0)]
    asked = [("one", Query(image=PNG)), ("two", Query(image=PNG))]
    assert Searched("holiday", None, asked, answers, 10, False).shown_ids == [1, 7, 2]
