"""Doctor, pack, evaluate and the demo's photographs, as functions: what they give, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import lookalike
from coordinator.doctor.checks import ok, problem, warning
from coordinator.doctor.visit import Visit
from coordinator.jobs.runs import evaluate_run
from lookalike import Event, UsageError
from shared.errors import PackError
from tests.support.builds import build
from tests.support.make_job import make_job

pytestmark = pytest.mark.slow


# doctor.


def test_a_checkup_holds_the_checks_and_says_whether_a_job_would_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looked: list[Any] = []
    verdicts = [ok("gpu", "None is here:\nthe CPU runs the model.", gpus=[]), warning("model", "<b> is downloaded.")]

    def look(self: Visit, source: str | None, job: Any, seconds: float) -> None:
        looked.append((source, str(job.path), seconds, self.settings.model))
        self.doing("Listing images …")
        self.tell(*verdicts)

    monkeypatch.setattr(Visit, "look", look)
    told: list[Event] = []
    checkup = lookalike.doctor(tmp_path, tmp_path / "job", model="efficientnet-b4", seconds=3.0, progress=told.append)
    assert looked == [(str(tmp_path), str(tmp_path / "job"), 3.0, "efficientnet-b4")]
    assert told == [Event("Listing images …", passing=True), Event("1 warning: a job would run.")]
    assert (checkup.ok, checkup.measured, checkup.prediction) == (True, None, None)
    assert checkup["gpu"].facts == {"gpus": []}
    assert [check.subject for check in checkup] == ["gpu", "model"]
    assert str(checkup).splitlines()[0] == "ok       gpu         None is here: the CPU runs the model."
    assert str(checkup).endswith("1 warning: a job would run.")
    shown = checkup._repr_html_()
    assert "&lt;b&gt; is downloaded." in shown
    assert shown.count("<tr>") == 2
    verdicts.append(problem("source", "Nothing is there."))
    assert not lookalike.doctor(tmp_path, tmp_path / "job").ok
    with pytest.raises(KeyError):
        checkup["weather"]


def test_doctor_refuses_what_can_not_be_meant() -> None:
    with pytest.raises(UsageError, match="exclude is a list of patterns"):
        lookalike.doctor("photos", exclude="*.png")
    with pytest.raises(UsageError, match="name one, or leave them out"):
        lookalike.doctor(include=["*.png"])


# pack.


def test_a_pack_goes_on_where_it_was_ended_and_says_what_was_packed_before(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        pixels = np.full((20, 20, 3), number * 80, np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), pixels)
    (tmp_path / "photos" / "gone.png").symlink_to(tmp_path / "nowhere.png")

    def stop(event: Event) -> None:
        if not event.passing:  # They are listed.
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lookalike.pack(tmp_path / "photos", tmp_path / "packed", images_per_tar=1, progress=stop)
    told: list[Event] = []
    pack = lookalike.pack(tmp_path / "photos", tmp_path / "packed", images_per_tar=1, progress=told.append)
    assert (pack.listed, pack.packed, pack.failed, len(pack.tars)) == (4, 3, 1, 3)
    assert all((Path(pack) / name).stat().st_size == size for name, size in pack.tars.items())
    assert [str(event) for event in told if not event.passing] == ["4 images", str(pack)], "listed once"
    assert (told[-1].done, told[-1].listed) == (4, 4)
    assert "3 of 4 images packed, 1 failed (each with its reason in errors.parquet); 3 tars" in str(pack)
    again: list[Event] = []
    assert lookalike.pack(tmp_path / "photos", tmp_path / "packed", progress=again.append) == pack
    assert again[0].sentence == "4 of 4 images were packed before."
    with pytest.raises(PackError):
        lookalike.pack(tmp_path / "photos", tmp_path / "packed", longest=100)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"longest": 5}, "longest is 5; it has to be 16 to 65,500"),
        ({"quality": 101}, "quality is 101"),
        ({"threads": 0}, "threads is 0; it has to be 1 to 512"),
        ({"images_per_tar": 0}, "images_per_tar is 0"),
        ({"tar_bytes": "1kB"}, "tar_bytes is 1kB, less than any tar takes"),
        ({"tar_bytes": 100}, "tar_bytes is 100, less"),
        ({"exclude": "*.png"}, "exclude is a list of patterns"),
    ],
)
def test_pack_refuses_what_can_not_be_meant(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError, match=said):
        lookalike.pack(tmp_path / "photos", tmp_path / "packed", **options)
    assert not (tmp_path / "packed").exists()


# evaluate.


def test_an_evaluation_is_the_figures_and_is_kept_beside_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_job(tmp_path / "job")
    build(made.job)
    asked: list[Any] = []

    def run(job: Any, queries: int, plot: Path | None, told: Any) -> dict[str, Any]:
        asked.append((job.path, queries, plot))
        told("asking", 0.5)
        return {"recall_at_10": 1.0, "p50_ms": 0.3}

    monkeypatch.setattr(evaluate_run, "run_evaluation", run)
    told: list[Event] = []
    found = lookalike.evaluate(lookalike.open(made.job.path), queries=20, progress=told.append)
    assert (found["recall_at_10"], len(found), list(found)) == (1.0, 2, ["recall_at_10", "p50_ms"])
    assert asked == [(made.job.path, 20, None)]
    kept = tmp_path / "job-evaluation.json"
    assert told == [Event("Evaluating … asking · 50%", passing=True), Event(f"figures: {kept}")]
    assert json.loads(kept.read_text()) == dict(found)
    kept.unlink()
    kept.mkdir()
    lookalike.evaluate(made.job.path, progress=told.append)
    assert "The figures were not kept in" in told[-1].sentence
    assert asked[-1][1] == 1_000
    with pytest.raises(UsageError, match="ask for 10 at least"):
        lookalike.evaluate(made.job.path, queries=9)


# demo_photos.


def test_the_demo_photos_are_made_below_a_folder_and_stay(tmp_path: Path) -> None:
    photos = lookalike.demo_photos(str(tmp_path / "demo"), only=["rocket"])
    assert photos.folder == tmp_path / "demo" / "photos"
    before = {path: path.stat().st_mtime_ns for path in photos.folder.rglob("*.jpg")}
    assert len(before) == photos.photos
    assert lookalike.demo_photos(tmp_path / "demo", only=["rocket"]) == photos
    assert {path: path.stat().st_mtime_ns for path in photos.folder.rglob("*.jpg")} == before
    with pytest.raises(UsageError, match="only is a list of names"):
        lookalike.demo_photos(tmp_path / "demo", only="rocket")
