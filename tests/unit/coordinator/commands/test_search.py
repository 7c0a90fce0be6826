"""`lookalike search --match` and the verdicts in what it prints; other options are tested with the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from coordinator.commands import search
from shared.errors import QueryError
from shared.job.opened import open_job
from shared.messages.finer import Finer, Refined
from shared.messages.query import Query
from shared.messages.search import Answer, Hit, Searched
from shared.messages.verdicts import SAME_BYTES, SAME_PICTURE, SIMILAR
from shared.messages.verified import Verified, Verify
from tests.support.cli import Run
from tests.support.evidence import evidence
from tests.support.make_job import MadeJob, make_job

CROPPED = evidence(132, hit_overlap=0.41, turned=90)
SIMILARS = (Hit(2, 2, "/photos/b c.jpg", 0.729, SIMILAR), Hit(3, 3, "/photos/c.jpg", 0.5))
FIRST = Hit(1, 1, "/photos/a.jpg", 0.7312, SAME_PICTURE, CROPPED)
FOUND = Answer((FIRST, *SIMILARS), 1.25, verified=Verified(20, 5, ended="enough"))
ABSENT = Answer(SIMILARS, 1.25, verified=Verified(100, 100), searched=Searched(500, 500))


class FakeClient:
    """Gives each query the answer of its file's name."""

    def __init__(self) -> None:
        self.answers = {b"found": FOUND, b"absent": ABSENT}
        self.verify: Verify | None = None
        self.finer: Finer | None = None
        self.sent: list[Query] = []
        self.identity = "0" * 16

    def enqueue_queries(
        self, queries: list[Query], k: int, *, verify: Verify, finer: Finer | None, **options: Any
    ) -> list[Any]:
        self.verify, self.finer, self.sent = verify, finer, queries
        return [FakeReply(self.answers[query.image or b"vector"]) for query in queries]


class FakeReply:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def answer(self, timeout: float) -> Answer:
        if self._answer.error is not None:
            raise self._answer.error
        return self._answer


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient()
    monkeypatch.setattr(search, "client_for_search", lambda stack, job, settings: fake)
    return fake


@pytest.fixture
def job(tmp_path: Path) -> MadeJob:
    return make_job(tmp_path / "jobs" / "job")


@pytest.fixture(autouse=True)
def queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("found", "absent", "odd"):
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("options", "verify"),
    [
        ([], Verify("auto", 1)),
        (["--verify", "never"], Verify("never", 1)),
        (["--verify", "always", "--views", "4"], Verify("always", 4)),
        (["--match"], Verify("always", 6)),
        (["--match", "--verify", "auto"], Verify("auto", 6)),
        (["--match", "--views", "1"], Verify("always", 1)),
    ],
)
def test_what_is_left_out_is_auto_and_with_match_more(
    run: Run, job: MadeJob, client: FakeClient, options: list[str], verify: Verify
) -> None:
    assert run("search", job.job.path, "found", *options).status == 0
    assert client.verify == verify


def test_verdicts_are_a_column_and_their_evidence_is_behind_the_path(
    run: Run, job: MadeJob, client: FakeClient
) -> None:
    lines = run("search", job.job.path, "found").out.splitlines()
    assert lines[1:] == [
        "#  verdict                       similarity  image",
        "1  same picture, cropped (41 %)      0.7312  /photos/a.jpg  turned 90°, 132 matching points",
        "2  similar                           0.7290  /photos/b c.jpg",
        "3                                    0.5000  /photos/c.jpg",
    ]
    client.answers[b"found"] = Answer(
        (Hit(1, 1, "/photos/a.jpg", 1.0, SAME_BYTES), Hit(2, 1, "/photos/d.jpg", 0.9, SAME_PICTURE, evidence(9)))
    )
    lines = run("search", job.job.path, "found").out.splitlines()
    assert lines[1:] == [
        "#  verdict       similarity  image",
        "1  same bytes        1.0000  /photos/a.jpg",
        "2  same picture      0.9000  /photos/d.jpg  9 matching points",
    ]
    client.answers[b"found"] = Answer((Hit(1, 1, "/photos/a.jpg", 1.0),), verified=Verified(ended="far"))
    ran = run("search", job.job.path, "found", "-k", "1")
    assert ran.out.splitlines()[1:] == ["#  similarity  image", "1      1.0000  /photos/a.jpg"]
    assert ran.err == "no verdicts: no image is near enough to be the same picture; --verify always compares anyway\n"


def test_a_finer_model_is_a_column_and_what_it_did_not_compare_is_said(
    run: Run, job: MadeJob, client: FakeClient, tmp_path: Path
) -> None:
    assert run("search", job.job.path, "found").status == 0
    assert client.finer is None
    told = Refined("efficientnet-b7@1", 100, 97, 2, "/photos/e.jpg is gone.", True)
    first = Hit(1, 1, "/photos/a.jpg", 0.73, finer=0.912, fused=3.1)
    client.answers[b"found"] = Answer((first, Hit(2, 2, "/photos/b.jpg", 0.91)), refined=told)
    ran = run("search", job.job.path, "found", "--finer", "efficientnet-b7", "-k", "2")
    assert client.finer == Finer("efficientnet-b7")
    assert ran.out.splitlines()[1:] == [
        "#  similarity   finer  image",
        "1      0.7300  0.9120  /photos/a.jpg",
        "2      0.9100          /photos/b.jpg",
    ]
    assert ran.err == (
        "2 of the 100 nearest images are placed by similarity alone, without the finer model; the first: /photos/e.jpg "
        "is gone.\n"
        "the finer model compared 97 of the 100 nearest images when the time was up (the setting finer_seconds); what "
        "it computed is cached: the same search again goes further\n"
    )
    (shown,) = json.loads(run("search", job.job.path, "found", "--finer", "efficientnet-b7", "--json").out)
    assert shown["finer"] == told.to_json()
    assert (shown["hits"][0]["finer"], shown["hits"][0]["fused"]) == (0.912, 3.1)
    client.answers[b"found"] = Answer((first,), refined=Refined("m@1", 1, reason="It is gone."))
    assert run("search", job.job.path, "found", "--finer", "efficientnet-b7", "-k", "1").err == (
        "no finer order: It is gone.\n"
    )
    ran = run("search", job.job.path, "found", "--finer", "efficientnet-b77")
    assert ran.status == 1
    assert "There is no model 'efficientnet-b77'" in ran.err
    words = ["--finer-input", "RGB scale=1", "--finer-output", "x pool=gem"]
    assert run("search", job.job.path, "found", "--finer", "theirs.onnx", *words).status == 0
    assert client.finer == Finer("theirs.onnx", None, "RGB scale=1", "x pool=gem")


def test_the_chance_of_a_similar_hit_is_beside_its_verdict(run: Run, job: MadeJob, client: FakeClient) -> None:
    chances = (0.124, 0.0004, None)
    similars = tuple(Hit(rank, rank, f"/{rank}.jpg", 0.7, SIMILAR, chance=one) for rank, one in enumerate(chances, 1))
    client.answers[b"found"] = Answer(similars, verified=Verified(3, 3, chances="job"))
    ran = run("search", job.job.path, "found", "-k", "3")
    assert [line[3:23].strip() for line in ran.out.splitlines()[2:]] == [
        "similar (12 %)",
        "similar (under 1 %)",
        "similar",
    ]
    assert ran.err == ""
    (found,) = json.loads(run("search", job.job.path, "found", "-k", "3", "--json").out)
    assert [hit.get("chance") for hit in found["hits"]] == list(chances)
    assert found["verified"] == {
        "candidates": 3, "compared": 3, "ended": "all", "nothing_above_chance": False, "chances": "job"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("verified", "lines"),
    [
        (
            Verified(3, 3, nothing=True, chances="job"),
            ["nothing above chance: no image stands out as the original of a copy does"],
        ),
        (
            Verified(ended="far", nothing=True, chances="published"),
            [
                "nothing above chance: no image stands out as the original of a copy does; --verify always compares "
                "anyway",
                "chances were measured on other photographs: the job has too few images to measure its own",
            ],
        ),
        (Verified(3, 3, no_chances="No copies."), ["similar images have no chance: No copies."]),
    ],
    ids=["nothing", "far and published", "unmeasured"],
)
def test_what_was_measured_of_the_answer_is_said(
    run: Run, job: MadeJob, client: FakeClient, verified: Verified, lines: list[str]
) -> None:
    client.answers[b"found"] = Answer((Hit(1, 1, "/a.jpg", 0.4),), verified=verified)
    assert run("search", job.job.path, "found", "-k", "1").err.splitlines() == lines


def test_match_prints_only_what_is_the_same_picture(run: Run, job: MadeJob, client: FakeClient) -> None:
    ran = run("search", job.job.path, "found", "--match")
    assert (ran.status, ran.err) == (0, "")
    assert "/photos/a.jpg" in ran.out
    assert "/photos/b c.jpg" not in ran.out
    ran = run("search", job.job.path, "found", "--match", "-k", "1")
    assert "No more than 1 hit was asked for: there may be more of the same picture." in ran.out


def test_match_ends_with_3_where_a_picture_is_not_there_and_says_which(
    run: Run, job: MadeJob, client: FakeClient
) -> None:
    ran = run("search", job.job.path, "absent", "--match")
    assert (ran.status, ran.err) == (3, "")
    assert ran.out == "absent  ·  not there: none of the 100 nearest images shows the same picture\n"
    ran = run("search", job.job.path, "found", "absent", "--match")
    assert ran.status == 3
    assert "/photos/a.jpg" in ran.out
    assert "absent  ·  not there: none of the 100 nearest" in ran.out
    assert run("search", job.job.path, "absent").status == 0, "without --match a search has done what it was asked"


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (Verified(9, reason="There is no image."), "There is no image."),
        (Verified(9, 8, 1, "b.jpg is gone."), "1 of the 9 nearest images can't be compared: b.jpg is gone."),
        (
            Verified(9, 4, ended="seconds"),
            "4 of the 9 nearest images were compared, and none is the same picture, when",
        ),
    ],
)
def test_what_is_not_known_is_an_error_and_not_an_absence(
    run: Run, job: MadeJob, client: FakeClient, told: Verified, sentence: str
) -> None:
    client.answers[b"odd"] = Answer(SIMILARS, verified=told)
    ran = run("search", job.job.path, "absent", "odd", "--match")
    assert ran.status == 1
    assert f"lookalike: odd: it is not known whether it is there. {sentence}" in ran.err
    assert "absent  ·  not there" in ran.out
    assert "odd" not in ran.out
    client.answers[b"odd"] = Answer(error=QueryError("It does not fit."))
    ran = run("search", job.job.path, "absent", "odd", "--match")
    assert (ran.status, ran.err) == (1, "lookalike: odd: It does not fit.\n")


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (Verified(9, reason="There is no image."), "no verdicts: There is no image."),
        (Verified(9, 8, 1, "b.jpg is gone."), "1 of the 9 nearest images has no verdict: b.jpg is gone."),
        (Verified(9, 7, 2, "b.jpg is gone."), "2 of the 9 nearest images have no verdict; the first: b.jpg is gone."),
        (Verified(9, 4, ended="seconds"), "4 of the 9 nearest images were compared when the time was up (the setting "
         "verify_seconds); the others have no verdict"),
    ],
)  # fmt: skip
def test_a_search_says_once_what_kept_hits_from_having_verdicts(
    run: Run, job: MadeJob, client: FakeClient, told: Verified, line: str
) -> None:
    client.answers[b"odd"] = Answer(SIMILARS, verified=told)
    ran = run("search", job.job.path, "odd", "odd", "-k", "2")
    assert (ran.status, ran.err) == (0, f"{line}\n")


def test_json_has_verdicts_evidence_and_what_was_compared(run: Run, job: MadeJob, client: FakeClient) -> None:
    ran = run("search", job.job.path, "found", "--json")
    (answer,) = json.loads(ran.out)
    first, second, third = answer["hits"]
    assert first["verdict"] == "same picture"
    assert first["evidence"]["inliers"] == 132
    assert first["evidence"]["hit_overlap"] == 0.41
    assert first["description"] == "cropped (41 %), turned 90°, 132 matching points"
    assert (second["verdict"], "evidence" in second, "verdict" in third) == ("similar", False, False)
    assert answer["verified"] == {"candidates": 20, "compared": 5, "ended": "enough"}
    assert "found" not in answer
    client.answers[b"odd"] = Answer(SIMILARS, verified=Verified(9, reason="There is no image."))
    ran = run("search", job.job.path, "found", "absent", "odd", "--json", "--match")
    assert ran.status == 1
    found, absent, odd = json.loads(ran.out)
    assert (found["found"], [hit["id"] for hit in found["hits"]]) == (True, [1])
    assert (absent["found"], absent["hits"]) == (False, [])
    assert (odd["found"], odd["verified"]["reason"]) == (None, "There is no image.")


def test_an_image_id_is_searched_by_its_embedding_and_compared_by_its_image(
    run: Run, job: MadeJob, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.answers[b"vector"] = client.answers[b"photo"] = FOUND
    run("search", job.job.path, "7")
    (sent,) = client.sent
    assert sent.vector is not None
    assert sent.vector.tolist() == pytest.approx(job.embeddings[7].tolist())
    assert sent.image is None, "its image is not there"
    monkeypatch.setattr("coordinator.client.stored_query.read_image", lambda job, image_id, location: (b"photo", True))
    run("search", open_job(job.job).path, "7")
    assert client.sent[0].image == b"photo"
    run("search", job.job.path, "7", "--verify", "never")
    assert client.sent[0].image is None, "it is read only to be compared"


def test_the_page_of_a_search_is_kept_where_it_is_asked_for_and_opened(
    run: Run, client: FakeClient, job: MadeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("typer.launch", opened.append)
    monkeypatch.setattr(search, "make_thumbnails", lambda job, ids, longest: {})
    for options in (["--html", "match.html"], ["--html", "other.html", "--open"], ["--open"]):
        ran = run("search", job.job.path, "found", *options)
        assert ran.status == 0, ran.err
        (page,) = [line.removeprefix("page: ") for line in ran.err.splitlines() if line.startswith("page: ")]
        assert "/photos/b c.jpg" in Path(page).read_text()
        assert opened[-1:] == ([page] if "--open" in options else [])
    assert (tmp_path / "match.html").is_file()
    Path(opened[-1]).unlink()


def test_a_page_is_written_over_nothing_and_nothing_is_asked_for_one_that_can_not_be(
    run: Run, client: FakeClient, job: MadeJob, tmp_path: Path
) -> None:
    (tmp_path / "there.html").write_text("mine")
    for name, sentence in (
        ("there.html", "is there already"),
        ("page.txt", "ends in .html"),
        ("no/p.html", "no directory"),
    ):
        ran = run("search", job.job.path, "found", "--html", name)
        assert ran.status != 0
        assert sentence in ran.err
    assert (tmp_path / "there.html").read_text() == "mine"
    assert client.sent == []
