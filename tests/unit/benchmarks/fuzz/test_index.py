"""What the benchmark of damaged files takes for wrong: each check finds what it is there for."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fuzz import index, tables
from benchmarks.fuzz.cases import TAR, kind_of, name_of, write_cases
from benchmarks.fuzz.files import FORMATS, mutated, seeds
from benchmarks.fuzz.index import Ended, counts_of, finds_itself, in_tar_as_in_folder, rows_of, said_wrong, sampled
from benchmarks.support.tables import fill_in
from coordinator.sources.resolve import open_source
from shared.job.directory import JobDir
from tests.support.benchmark_tables import PAGE
from tests.support.make_job import make_job


def test_the_folder_has_the_seeds_and_mutations_of_each_format_and_the_tar_some_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    images = write_cases(folder, 5, every=2)
    listed = [image.path for image in open_source(str(folder)).images]
    assert len(listed) == images
    names = [name_of(folder, path) for path in listed]
    for kind in FORMATS:
        whole = seeds(kind)
        of_kind = sorted(path for path in (folder / kind).iterdir())
        assert [path.read_bytes() for path in of_kind] == [mutated(whole, number, kind) for number in range(5)] + whole
        assert sum(name.startswith(f"{kind}/") for name in names) == 5 + 3 + 2 * len(whole)
    assert {kind_of(folder, path) for path in listed} == set(FORMATS)


def hits(*found: tuple[str, float]) -> dict[str, Any]:
    return {"hits": [{"image_path": path, "similarity": similarity} for path, similarity in found]}


@pytest.mark.parametrize(
    ("answer", "is_found"),
    [
        (hits(("a", 1.0), ("b", 0.5)), True),
        (hits(("b", 1.0), ("a", 0.999)), True),  # Of the same pixels.
        (hits(("b", 1.0), ("c", 0.999)), True),  # More of them than were asked for.
        (hits(("b", 0.9), ("a", 0.9)), False),
        (hits(("b", 1.0), ("a", 0.9)), False),
        (hits(("b", 1.0), ("c", 0.9)), False),
        (hits(), False),
    ],
)
def test_an_image_finds_itself_or_nothing_but_its_like(answer: dict[str, Any], is_found: bool) -> None:
    assert finds_itself("a", answer) is is_found


def test_a_traceback_another_end_and_a_hang_are_told() -> None:
    trace = "Traceback (most recent call last):\n  File ...\nKeyError: 1\n"
    assert said_wrong("index", Ended(0, 1.0, "", "9 images embedded\n"), 0) == []
    assert len(said_wrong("index", Ended(0, 1.0, "", trace), 0)) == 1
    assert len(said_wrong("index", Ended(0, 1.0, "Fatal Python error: Aborted\n", ""), 0)) == 1
    assert "signal SIGABRT" in said_wrong("index", Ended(-6, 1.0, "", ""), 0)[0]
    assert "did not end" in said_wrong("search", Ended(None, 1.0, "", ""), 1)[0]


def test_rows_add_up_or_it_is_told(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", listed=30, dim=8, partition_size=10, failed={3, 17})
    statuses, problems = rows_of(made.job)
    assert (len(statuses), sum(status == "ok" for status in statuses.values()), problems) == (30, 28, [])
    JobDir.at(made.job.path).metadata(1).write_bytes(made.job.metadata(0).read_bytes())
    assert "30 were listed" in rows_of(made.job)[1][0]


def test_another_status_in_the_tar_is_told_and_samples_are_of_both_kinds() -> None:
    folder = Path("/f")
    statuses = {
        "/f/GIF/0.gif": "ok",
        "/f/GIF/1.gif": "truncated",
        "/f/PNG/0.png": "ok",
        f"/f/{TAR}::GIF/0.gif": "ok",
        f"/f/{TAR}::GIF/1.gif": "damaged",
    }
    assert in_tar_as_in_folder(folder, statuses) == [
        f"/f/{TAR}::GIF/1.gif is damaged in the tar and truncated in the folder"
    ]
    assert counts_of(folder, statuses) == {"GIF": {"damaged": 1, "ok": 2, "truncated": 1}, "PNG": {"ok": 1}}
    assert sampled(folder, statuses, 1) == {"GIF": ["/f/GIF/0.gif", "/f/GIF/1.gif"], "PNG": ["/f/PNG/0.png"]}


@pytest.mark.parametrize(
    ("said", "problems"),
    [
        ('{"hits": [], "error": "It is cut short.", "status": "truncated"}', 0),
        ('{"hits": [], "error": "It is cut short.", "status": "undecodable"}', 1),
        ('{"hits": [], "error": "KeyError", "status": "truncated"}', 1),
        ('{"hits": [{"image_path": "a", "similarity": 1.0}]}', 1),
    ],
)
def test_a_failed_image_is_answered_with_a_sentence_and_its_status(
    said: str, problems: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "command", lambda *_: Ended(1, 0.1, f"[{said}]", "lookalike: a: No.\n"))
    counts, found, _ = index.search(JobDir.at(tmp_path / "job"), ["a"], {"a": "truncated"}, tmp_path, {})
    assert len(found) == problems
    assert counts == {"embedded": 0, "found": 0, "failed": 1, "answered": 1 - problems}


@pytest.fixture
def results() -> Any:
    return json.loads(index.RESULTS.read_text())


def test_the_page_quotes_the_figures_of_the_damaged_files(results: Any) -> None:
    page = PAGE.read_text()
    assert fill_in(page, tables.all_tables(results)) == page
    for change in ("images", "problems", "statuses", "searched", "peak_bytes"):
        other = copy.deepcopy(results)
        if change == "problems":
            other["problems"].append("It crashed.")
        elif change == "images":
            other["images"] += 1
        elif change == "peak_bytes":
            other["peak_bytes"]["index"]["embed"] += 1_000_000
        else:
            inner = other[change]["HEIC"]
            inner[next(iter(inner))] += 1
        assert fill_in(page, tables.all_tables(other)) != page


def test_the_committed_figures_are_of_every_format_and_add_up(results: Any) -> None:
    assert results["problems"] == []
    assert results["statuses"].keys() >= set(FORMATS)
    totals = {kind: sum(statuses.values()) for kind, statuses in results["statuses"].items()}
    assert min(totals[kind] for kind in FORMATS) > 1_000
    assert sum(totals.values()) == results["images"] == results["embedded"] + results["failed"]
    assert sum(statuses.get("ok", 0) for statuses in results["statuses"].values()) == results["embedded"]
    for searched in results["searched"].values():
        assert (searched["found"], searched["answered"]) == (searched["embedded"], searched["failed"])
    assert "/" not in json.dumps({key: value for key, value in results.items() if key not in ("command", "machine")})
