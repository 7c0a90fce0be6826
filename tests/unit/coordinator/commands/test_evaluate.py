"""`lookalike evaluate`: what is measured, how it is said, and what is refused."""

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from coordinator.display.evaluation import evaluation_view, share
from shared.errors import JobError, NoIndexYet
from shared.job import altered_copies
from shared.job.altered_copies import Copies
from shared.job.changes.log import Change, write_change
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.calibration import UNALTERED, UNMEASURED, VerdictRow, VerdictsMeasured
from shared.job.opened import open_job
from shared.job.partition import ledger
from shared.settings import Settings
from tests.support.builds import build
from tests.support.cli import Run
from tests.support.controls import UNWATCHED
from tests.support.http_api import serving
from tests.support.make_job import MadeJob, clustered, make_job
from workers.evaluate import report
from workers.merge.build import merge
from workers.search.candidates.width import Width

pytestmark = pytest.mark.slow

COUNT, DIM = 400, 32
Said = list[tuple[str, float]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeJob:
    """A job of 400 images, two of which failed, with an index; leave it as it is."""
    path = tmp_path_factory.mktemp("evaluated") / "job"
    made = make_job(path, clustered(COUNT, DIM), failed=(3, 4), partition_size=150, chunk_size=50)
    merge(made.job, Settings(), UNWATCHED)
    return made


@pytest.fixture(scope="module")
def said() -> Said:
    return []


@pytest.fixture(scope="module")
def evaluation(made: MadeJob, said: Said) -> dict[str, Any]:
    found: dict[str, Any] = report.evaluate(made.job, 100, lambda phase, part: said.append((phase, part)))
    return found


def copies_of(made: MadeJob, right: int) -> Copies:
    """Made-up copies of four images by two alterations, of which so many are the images' own embeddings."""
    ids = np.repeat(made.ids[[10, 20, 30, 40]], 2)
    rows = np.searchsorted(made.ids, ids)
    vectors = made.embeddings[rows].copy()
    vectors[right:] = -vectors[right:]
    return Copies(
        ids=ids,
        alterations=("flip", "grey") * 4,
        similarities=np.where(np.arange(8) < right, 1.0, -1.0).astype(np.float32),
        embeddings=vectors,
        fingerprint=made.job.manifest.model.fingerprint,
        ledger_digest=builds.ledger_digest(ledger.sealed(made.job)),
        seed=0,
    )


def test_it_measures_what_the_promoted_build_does(made: MadeJob, evaluation: dict[str, Any]) -> None:
    info = builds.current_info(made.job)
    assert info is not None
    assert evaluation["images"] == {"listed": 400, "embedded": 398, "failed": 2, "removed": 0}
    assert (evaluation["model"], evaluation["dim"]) == (made.job.manifest.model.fingerprint, DIM)
    assert evaluation["embedding"] == {"seconds": 0.8, "bytes": 3 * 128 + 398 * DIM * 2}
    assert evaluation["build"]["name"] == info.build
    assert evaluation["build"]["index_bytes"] == info.bytes
    assert evaluation["build"]["seconds"] == dict(info.seconds)
    assert (evaluation["recall_at_10"], evaluation["queries"]) == (1.0, 100)
    assert 0 < evaluation["p50_ms"] <= evaluation["p99_ms"]
    assert evaluation["batch"] == 64
    assert evaluation["queries_per_second"] > 100
    assert evaluation["query_memory_bytes"] is None or 10**6 < evaluation["query_memory_bytes"] < 10**9
    assert json.loads(json.dumps(evaluation)) == evaluation


def test_nothing_in_the_job_changes(made: MadeJob, evaluation: dict[str, Any]) -> None:
    assert not made.job.copies.exists()
    assert sorted(path.name for path in made.job.index_dir.iterdir() if path.is_file()) == ["CURRENT"]


def test_each_phase_is_said(evaluation: dict[str, Any], said: Said) -> None:
    phases = list(dict.fromkeys(phase for phase, _ in said))
    assert phases[0] == "opening the index"
    assert phases[-1] == "other widths of the search"
    parts = [part for phase, part in said if phase == phases[-1]]
    assert parts == sorted(parts)
    assert len(parts) == len(evaluation["sweep"])


def test_the_sweep_holds_the_promoted_width_once(evaluation: dict[str, Any]) -> None:
    promoted = [point for point in evaluation["sweep"] if point["promoted"]]
    assert [point["depth"] for point in promoted] == [evaluation["build"]["rerank_depth"]]
    depths = [point["depth"] for point in evaluation["sweep"]]
    assert depths == sorted(set(depths))
    assert set(depths) >= {10, 20, 50, 100, 200, 398}
    assert all(point["recall_at_10"] >= 0.99 and point["queries"] == 100 for point in evaluation["sweep"])
    assert evaluation["sweep"][-1]["recall_at_10"] == 1.0


def info_like(**changes: Any) -> IndexInfo:
    return IndexInfo(
        build="0001-ab12cd34", type="IVF-PQ", factory="IVF", ntotal=100_000, dim=32, fingerprint="m", ledger_digest="d",
        nlist=512, nprobe=32, m=16, nbits=4, rerank_depth=200, recall_at_10=1.0, recall_queries=50, p50_ms=0.25,
        p99_ms=0.5, seconds={}, built_at=0.0, files={},
    ) if not changes else replace(info_like(), **changes)  # fmt: skip


def test_the_widths_lie_around_the_promoted_one() -> None:
    found = report.widths(info_like())
    assert found == [Width(nprobe, depth) for depth in (50, 200, 800) for nprobe in (4, 8, 16, 32, 64, 128)]
    assert report.widths(info_like(nprobe=512))[-1] == Width(512, 800)
    bounded = info_like(list_margin=0.2, depth_ratio=1.3)
    assert {width.depth_ratio for width in report.widths(bounded)} == {1.3}
    margins = {width.nprobe: width.list_margin for width in report.widths(bounded)}
    assert margins[32] == 0.2
    assert list(margins.values()) == sorted(margins.values())
    assert margins[16] == pytest.approx(0.2 * 0.5**0.42)
    assert sum(width == Width(32, 200, 0.2, 1.3) for width in report.widths(bounded)) == 1
    assert len(report.widths(info_like(nprobe=1, rerank_depth=10))) >= 6
    graph = report.widths(info_like(nlist=0, nprobe=64))
    assert max(width.nprobe for width in graph) == 256, "the width of a graph is not bounded by lists"
    flat = report.widths(info_like(nlist=0, nprobe=0, rerank_depth=30))
    assert [width.depth for width in flat] == [10, 20, 30, 50, 100, 200, 400, 800, 1_600]
    assert {width.nprobe for width in flat} == {0}


def test_accuracy_comes_from_the_altered_copies(made: MadeJob, tmp_path: Path) -> None:
    here = JobDir(tmp_path / "job")
    shutil.copytree(made.job.path, here.path)
    altered_copies.write_copies(here, copies_of(made, right=5))
    whole = report.evaluate(here, 20, lambda phase, share: None)
    found = whole["accuracy"]
    assert (whole["verdicts"]["copies"], "photos/" in whole["verdicts"]["reason"]) == (0, True), "no image is there"
    assert (found["copies"], found["images"], found["reason"]) == (8, 4, "")
    assert (found["at_10"], found["exact_at_10"]) == (5 / 8, 5 / 8)
    assert [(row["alteration"], row["copies"], row["at_10"]) for row in found["by_alteration"]] == [
        ("flip", 4, 3 / 4),
        ("grey", 4, 2 / 4),
    ]
    assert found["alike"] == {"similarity": 0.94, "copies": 5, "at_10": 1.0}
    none = altered_copies.none_of(
        made.job.manifest.model.fingerprint, copies_of(made, 5).ledger_digest, 0, "The photos are gone."
    )
    altered_copies.write_copies(here, none)
    assert report.evaluate(here, 20, lambda phase, share: None)["accuracy"]["reason"] == "The photos are gone."


def test_what_was_removed_is_not_measured(made: MadeJob, tmp_path: Path) -> None:
    here = JobDir(tmp_path / "job")
    shutil.copytree(made.job.path, here.path)
    altered_copies.write_copies(here, copies_of(made, right=5))
    gone = made.ids[[10, *range(50, 150)]]
    write_change(here, made.job.manifest, Change(1, "delete", removed=gone))
    found = report.evaluate(here, 200, lambda phase, share: None)
    assert (found["recall_at_10"], found["images"]["removed"]) == (1.0, 101)
    assert (found["accuracy"]["copies"], found["accuracy"]["at_10"]) == (6, 3 / 6)
    assert "398 embedded, 2 failed, 101 removed" in shown(found)
    write_change(here, made.job.manifest, Change(2, "delete", removed=made.ids[[20, 30, 40]]))
    found = report.evaluate(here, 20, lambda phase, share: None)["accuracy"]
    assert (found["copies"], found["reason"]) == (0, "the images that copies were made of were removed")
    rest = np.setdiff1d(made.ids, open_job(here).state.removed)
    write_change(here, made.job.manifest, Change(3, "delete", removed=rest))
    with pytest.raises(JobError, match=r"All images .* were removed: nothing can be measured"):
        report.evaluate(here, 20, lambda phase, share: None)


def test_without_copies_it_says_so(evaluation: dict[str, Any]) -> None:
    assert (evaluation["accuracy"]["copies"], evaluation["accuracy"]["at_10"]) == (0, None)
    assert evaluation["accuracy"]["reason"] == "no altered copies of its images were embedded"
    assert evaluation["verdicts"] == {"copies": 0, "reason": evaluation["accuracy"]["reason"], "by_alteration": []}
    assert (evaluation["chances"]["measured"], evaluation["chances"]["reason"]) == ("", UNMEASURED)


def shown(evaluation: dict[str, Any]) -> str:
    console = Console(width=80, record=True, markup=False, emoji=False, soft_wrap=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(evaluation_view(evaluation))
    console.file.close()
    return console.export_text()


def test_the_table_says_each_figure_beside_the_claim(evaluation: dict[str, Any]) -> None:
    text = shown(evaluation)
    lines = {line.strip().split("   ")[0]: line for line in text.splitlines() if line.strip()}
    assert "398 embedded, 2 failed" in lines["images"]
    assert "2,000,000" in lines["images"]
    assert "82 min" in lines["built in"]
    assert "18 ms" in lines["latency p50 / p99"]
    assert "97.8 %" in lines["accuracy@10"]
    assert "1.0000 of 100 queries; asked for 0.99" in lines["recall@10"]
    assert "claims, for another number of images on other hardware" in text
    assert text.count("serves") == 1
    assert max(map(len, text.splitlines())) <= 110


def test_the_table_tells_of_accuracy_and_of_what_is_not_known(evaluation: dict[str, Any]) -> None:
    rows = [
        {"alteration": "flip", "copies": 48, "at_10": 1.0, "exact_at_10": 1.0, "mean_similarity": 0.9},
        {"alteration": "grey", "copies": 48, "at_10": 0.75, "exact_at_10": 0.875, "mean_similarity": 0.8},
    ]
    accuracy = {"copies": 96, "images": 48, "reason": "", "by_alteration": rows, "at_10": 0.875, "exact_at_10": 0.9375,
                "alike": {"similarity": 0.94, "copies": 30, "at_10": 1.0}}  # fmt: skip
    build = evaluation["build"] | {"peak_rss_bytes": None, "nprobe": 32, "recall_wished": None}
    imported = {"seconds": None, "bytes": 2_000_000}
    unknown = {"query_memory_bytes": None, "recall_at_10": None}
    text = shown(evaluation | unknown | {"accuracy": accuracy, "embedding": imported, "build": build})
    for part in (
        "87.5 % of 96 altered copies", "100 % of 48", "75 % of 48; 87.5 % by exact search", "100 % of 30",
        "not recorded", "2.0 MB; imported", "nprobe 32", "no image has a neighbour",
    ):  # fmt: skip
        assert part in text, part
    assert "at most" not in text
    assert "at most nprobe 32, " in shown(evaluation | {"build": build | {"list_margin": 0.2}})


def test_the_table_tells_of_verdicts_and_chances_by_alteration(evaluation: dict[str, Any]) -> None:
    rows = [VerdictRow(UNALTERED, 16, 16, 0, 0, 0, 0, 0), VerdictRow("grey", 16, 0, 9, 5, 0, 2, 48)]
    verdicts = VerdictsMeasured(rows, 16, unclear=3).to_json()
    chances = {"measured": "job", "reason": "", "copies": 288, "originals": 48, "nothing_absent": 0.6111,
               "nothing_there": 0.0}  # fmt: skip
    text = shown(evaluation | {"verdicts": verdicts, "chances": chances})
    for part in (
        "14 of 16 altered copies proven", "2 of 16 copies", "48 pairs", "3 others that show a part of an original",
        "16 of 16; 16 same bytes; 0 falsely", "14 of 16; 9 same pixels, 5 same picture; 2 falsely",
        "measured on 288 altered copies of 48 images", "61.1 % of queries whose picture is absent, 0 % of the others",
    ):  # fmt: skip
        assert part in " ".join(text.split()), part
    published = chances | {"measured": "published", "reason": "The job has 60 images."}
    assert "as measured on other photographs: The job has 60 images." in " ".join(
        shown(evaluation | {"chances": published}).split()
    )
    assert "not measured: " + UNMEASURED[:20] in " ".join(shown(evaluation).split())


@pytest.mark.parametrize(("value", "text"), [(1.0, "100 %"), (0.97916, "97.9 %"), (0.5, "50 %"), (0.0, "0 %")])
def test_shares_are_percentages(value: float, text: str) -> None:
    assert share(value) == text


@pytest.mark.parametrize("nprobe", [0, 16])
def test_the_plot_is_a_picture_of_the_sweep(evaluation: dict[str, Any], tmp_path: Path, nprobe: int) -> None:
    # The import is here because each process of a run imports this file, and Matplotlib takes half a second.
    from workers.evaluate import plot

    def drawn(name: str, points: list[dict[str, Any]]) -> Any:
        plot.draw_sweep(evaluation | {"sweep": points}, tmp_path / name)
        return cv2.imread(str(tmp_path / name))

    points = [
        {"nprobe": nprobe * factor, "depth": depth, "recall_at_10": 1 - 0.1 / factor - 1 / depth,
         "p50_ms": 0.1 * factor + depth / 1_000, "p99_ms": 1.0, "queries": 100, "promoted": factor == 2 and depth == 50}
        for depth in (20, 50, 80) for factor in (1, 2, 4)
    ]  # fmt: skip
    one = drawn("one.png", points)
    assert one.shape[1] > 1_200
    assert one.shape[0] > 700
    assert one.std() > 5
    assert np.array_equal(one, drawn("again.png", points))
    other = drawn("other.png", [point | {"promoted": False} for point in points])
    marked = (one != other).any(axis=2)
    assert marked.sum() > 100, "the width that serves is marked"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.png", "one.png", "other.png"]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has the command's process be a script given here instead of `workers.evaluate.report`."""

    def instead(script: str) -> None:
        real = subprocess.Popen

        def start(words: list[str], **options: Any) -> Any:
            return real([words[0], "-c", script], **options)

        monkeypatch.setattr(subprocess, "Popen", start)

    return instead


@pytest.fixture
def read_only(made: MadeJob) -> Iterator[JobDir]:
    """The job without a right to write in it, where this user can be refused one."""
    paths = [made.job.path, *(path for path in made.job.path.rglob("*") if path.is_dir())]
    before = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    for path in paths:
        path.chmod(0o555)
    yield made.job
    for path, mode in before.items():
        path.chmod(mode)


def test_the_command_measures_in_a_process_of_its_own_and_keeps_the_figures(
    run: Run, read_only: JobDir, tmp_path: Path
) -> None:
    ran = run("evaluate", read_only.path, "--queries", "20", "--plot", "sweep.png")
    assert ran.status == 0, ran.err
    assert "of 20 queries" in ran.out
    kept = json.loads((read_only.jobs_root / "job-evaluation.json").read_text())
    assert kept["queries"] == 20
    assert kept["recall_at_10"] == 1.0
    assert "job-evaluation.json" in ran.err
    assert cv2.imread(str(tmp_path / "sweep.png")) is not None

    # What is kept is what a server shows of it.
    with serving(read_only.path) as running:
        told = running.http.get("/v1/jobs/job").json()["index"]
    shown = told["evaluation"]
    assert shown["build"] == told["build"] == kept["build"]["name"]
    assert [(point["p50_ms"], point["promoted"]) for point in shown["sweep"]] == [
        (point["p50_ms"], point["promoted"]) for point in kept["sweep"]
    ]
    assert {name: kept[name] for name in ("recall_at_10", "queries", "p50_ms")}.items() <= shown.items()
    assert shown["verdicts"]["reason"] == kept["verdicts"]["reason"]
    assert [point["promoted"] for point in told["sweep"]].count(True) == 1


def test_the_json_is_printed_and_not_kept(run: Run, made: MadeJob) -> None:
    kept = made.job.jobs_root / "job-evaluation.json"
    kept.unlink(missing_ok=True)
    ran = run("evaluate", made.job.path, "--queries", "10", "--json")
    assert ran.status == 0, ran.err
    assert json.loads(ran.out)["queries"] == 10
    assert not kept.exists()


def test_figures_that_can_not_be_kept_are_said_to_be_lost(
    run: Run, made: MadeJob, in_this_process: Callable[[str], None], evaluation: dict[str, Any]
) -> None:
    kept = made.job.jobs_root / "job-evaluation.json"
    kept.unlink(missing_ok=True)
    kept.mkdir()
    in_this_process(f"print({json.dumps(json.dumps({'result': evaluation}))})")
    ran = run("evaluate", made.job.path)
    kept.rmdir()
    assert ran.status == 0
    assert "were not kept" in ran.err
    assert "398 embedded" in ran.out


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["--plot", "nowhere/sweep.png"], 2, "there is no directory"),
        (["--plot", "sweep.jpg"], 2, "does not end in .png"),
        (["--queries", "9"], 2, "9 is not in the range x>=10"),
    ],
    ids=["no directory", "no PNG", "few queries"],
)
def test_what_can_not_be_meant_is_refused(
    run: Run, made: MadeJob, words: list[str], status: int, sentence: str
) -> None:
    ran = run("evaluate", made.job.path, *words)
    assert ran.status == status
    assert sentence in ran.err.replace("\n", " ")


def test_a_plot_without_matplotlib_is_refused_with_what_to_install(
    run: Run, made: MadeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.jobs.runs.evaluate_run.find_spec", lambda name: None)
    ran = run("evaluate", made.job.path, "--plot", "sweep.png")
    assert (ran.status, "pip install 'lookalike[plot]'" in ran.err) == (2, True)


def test_a_job_without_an_index_has_nothing_to_measure(run: Run, tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    ran = run("evaluate", made.job.path)
    assert (ran.status, "has no index yet" in ran.err) == (1, True)
    with pytest.raises(NoIndexYet):
        report.evaluate(made.job, 10, lambda phase, share: None)


def test_a_damaged_build_is_a_sentence(run: Run, tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    build(made.job)  # An index.json without any index.
    ran = run("evaluate", made.job.path, "--queries", "10")
    assert ran.status == 1
    assert "index.json names no images.arrow and no index.faiss" in ran.err
    assert "Traceback" not in ran.err
