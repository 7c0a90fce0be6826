"""The demo's figures come out of the answers: ranks, shares, agreement with exact search, a page with the rows."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coordinator.commands.demo import find_again
from coordinator.jobs.progress import ProgressReader
from coordinator.local.demo_photos import DemoPhotos, DemoQuery
from shared.messages.search import Answer, Hit
from shared.messages.verdicts import SAME_PICTURE, SIMILAR
from shared.messages.verified import NEVER, Verified
from tests.support.evidence import evidence
from tests.support.make_job import make_job

pytestmark = pytest.mark.slow


class FakeReply:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def answer(self, timeout: float) -> Answer:
        assert timeout > 0
        return self._answer


class FakeClient:
    """Answers each query with the photos of `ranked`, or of `truth` when exact search is asked for.

    Where verdicts are asked for, the original of a grey copy is proven, and nothing else.
    """

    def __init__(self, ranked: Callable[[Path], list[Path]], truth: Callable[[Path], list[Path]]) -> None:
        self._ranked, self._truth = ranked, truth

    def enqueue(self, queries: Sequence[Path], k: int, *, exact: bool = False, verify: str = NEVER) -> list[FakeReply]:
        order = self._truth if exact else self._ranked
        answers = [(query, Answer(self._hits(order(query)[:k]), 2.0)) for query in queries]
        if verify == NEVER:
            return [FakeReply(answer) for _, answer in answers]
        return [FakeReply(self._judged(query, answer)) for query, answer in answers]

    def _hits(self, photos: list[Path]) -> tuple[Hit, ...]:
        return tuple(Hit(rank, int(photo.stem), str(photo), 1 - rank / 100) for rank, photo in enumerate(photos, 1))

    def _judged(self, query: Path, answer: Answer) -> Answer:
        hits = [
            replace(hit, verdict=SAME_PICTURE, evidence=evidence(hit_overlap=0.41))
            if query.parent.name == "grey" and query.name == Path(hit.image_path).name
            else replace(hit, verdict=SIMILAR)
            for hit in answer.hits
        ]
        return replace(answer, hits=tuple(hits), verified=Verified(len(hits), len(hits)))


@pytest.fixture
def cut(tmp_path: Path) -> DemoPhotos:
    photos = [tmp_path / "photos" / f"{number:02d}.jpg" for number in range(20)]
    for photo in photos:
        photo.parent.mkdir(exist_ok=True)
        photo.touch()
    queries = []
    for alteration in ("flip", "grey"):
        for photo in photos[:4]:
            copy = tmp_path / "queries" / alteration / photo.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.touch()
            queries.append(DemoQuery(copy, alteration, photo))
    stranger = tmp_path / "queries" / "not-there" / "99.jpg"
    return DemoPhotos(tmp_path / "photos", 20, 3, queries, [DemoQuery(stranger, "not in the collection", None)])


def run(tmp_path: Path, cut: DemoPhotos, client: FakeClient) -> Any:
    made = make_job(tmp_path / "job", listed=20)
    progress = ProgressReader(made.job).read()
    searched: list[int] = []
    result = find_again(tmp_path, made.job, cut, client, progress, searched.append)  # type: ignore[arg-type]
    assert searched == list(range(1, 9))
    return result


def photos_from(cut: DemoPhotos, first: int, step: int = 1) -> list[Path]:
    return [cut.folder / f"{(first + step * place) % 20:02d}.jpg" for place in range(20)]


def test_shares_count_the_rank_of_the_original_by_alteration(tmp_path: Path, cut: DemoPhotos) -> None:
    def ranked(query: Path) -> list[Path]:
        number = int(query.stem)
        if query.parent.name == "flip":
            return photos_from(cut, number)  # First.
        return photos_from(cut, number - number)[:10] if number else photos_from(cut, 5)[:10]

    result = run(tmp_path, cut, FakeClient(ranked, ranked))
    flip, grey = result.found
    assert (flip.alteration, flip.queries, flip.first, flip.in_ten) == ("flip", 4, 4, 4)
    # Photo 0 is not among the ten that begin with 5; photos 1, 2 and 3 come second, third and fourth.
    assert (grey.alteration, grey.queries, grey.first, grey.in_ten) == ("grey", 4, 0, 3)
    assert result.recall_at_10 == 1
    assert result.milliseconds == 2


def test_recall_is_the_share_of_the_exact_hits_that_the_index_gave(tmp_path: Path, cut: DemoPhotos) -> None:
    def ranked(query: Path) -> list[Path]:
        return photos_from(cut, int(query.stem))

    def truth(query: Path) -> list[Path]:
        return photos_from(cut, int(query.stem) + 3)  # Seven of ten in common.

    assert run(tmp_path, cut, FakeClient(ranked, truth)).recall_at_10 == pytest.approx(0.7)


def test_the_page_shows_each_query_with_its_hits(tmp_path: Path, cut: DemoPhotos) -> None:
    def ranked(query: Path) -> list[Path]:
        return photos_from(cut, int(query.stem))

    result = run(tmp_path, cut, FakeClient(ranked, ranked))
    page = result.sheet.read_text()
    assert page.count("queries/flip/") >= 4
    assert "photos/12.jpg" in page
    assert "photos/13.jpg" not in page, "photo 13 is no hit of any query"
    assert [hit.rank for hit in result.hits] == [1, 2, 3, 4, 5]
    assert result.example == cut.queries[0]
    assert (result.proven, result.wrong) == (4, 0)
    assert page.count(">same picture, cropped (41\N{NO-BREAK SPACE}%)</span>") == 8, "of a hit and of its query, each"
    assert page.count("original found first, not proven") == 4
    assert page.count("not there: none of the 10 nearest images shows the same picture") == 1
    assert page.count("<polygon") == 4
