"""The embedding benchmark: what it chooses, makes and counts, and that its tables say what was measured."""

import copy
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import embed, embed_costs, embed_listing, embed_once, embed_sources, embed_tables, processes
from benchmarks.embed_once import Asked
from coordinator.jobs.create import make_or_open
from coordinator.sources.resolve import open_source
from shared.job.directory import JobDir
from shared.settings import Settings
from tests.unit.benchmarks.test_tables import HEADER, lines


def cost(images: int, wall: float, cpu: float) -> dict[str, Any]:
    return {"images": images, "wall_seconds": wall, "cpu_seconds": cpu}


def run(wall: float, cpu: float, rss: int = 300_000_000) -> dict[str, Any]:
    """A run over 100 images that decodes 100 and runs the model on 50 a second, of each kind."""
    parts = {"decode": cost(100, 1.0, 1.0), "model": cost(100, 2.0, 2.0)}
    return cost(100, wall, cpu) | {"peak_rss_bytes": rss, "peak_own_bytes": rss // 2, "parts": parts}


def article_run(wall: float, cpu: float) -> dict[str, Any]:
    return {key: value for key, value in run(wall, cpu, 2_000_000_000).items() if key != "parts"}


@pytest.fixture
def results() -> dict[str, Any]:
    ways = {
        "article": [article_run(8.0, 8.0), article_run(80.0, 9.0), article_run(7.0, 8.5)],
        "keras f32": [run(4.0, 6.0)] * 3,
        "openvino f32": [run(3.2, 3.1), run(3.0, 3.2), run(30.0, 9.0)],
    }
    source = {kind: [run(wall, 4.0)] for kind, wall in (("folder", 4.0), ("tar", 4.1))}
    listed = {"paths": 2_000_000, "partitions": 40, "seconds": 30.5, "cpu_seconds": 29.0}
    memory = {"peak_rss_bytes": 400_000_000, "peak_own_bytes": 200_000_000}
    measured = {
        "device": "cpu",
        "repeats": 3,
        "photographs": "photographs",
        "facts": {"precisions": ["f32"], "backend": "tensorflow", "devices": ["cpu"]},
        "ends": {"efficientnet-b0": {"images": 100, "weights": "w", "ways": embed_costs.summed(ways, "cpu")}},
        "sources": {"b0": {"images": 100, "left_out": ["zip"], "ways": embed_costs.summed(source, "cpu")}},
        "listing": {"list": listed | memory, "tree": listed | memory | {"peak_rss_bytes": 500_000_001}},
        "dispatch": {"embedded broker": {"partitions": 40, "seconds": 0.25, "runs": [0.2, 0.25, 0.5]}},
        "memory": {"256": {"model": "b4", "images": 256, "cpu_seconds": 9.0} | memory},
    }
    return copy.deepcopy(HEADER | measured)


def test_the_bound_is_what_decoding_and_model_allow_together() -> None:
    parts = {"decode": cost(100, 1.0, 2.0), "model": cost(50, 1.0, 2.0)}
    assert embed_costs.bound_of(parts, "wall", "cpu") == pytest.approx(1 / (1 / 100 + 1 / 50))
    assert embed_costs.bound_of(parts, "cpu", "cpu") == pytest.approx(1 / (1 / 50 + 1 / 25))
    # With a device of its own the model does not wait for those who decode.
    assert embed_costs.bound_of(parts, "wall", "gpu") == 50
    assert embed_costs.bound_of(parts, "cpu", "gpu") == embed_costs.bound_of(parts, "cpu", "cpu")


def test_one_bad_run_does_not_decide_a_rate_a_ratio_or_a_share(results: dict[str, Any]) -> None:
    ways = results["ends"]["efficientnet-b0"]["ways"]
    ours = ways["openvino f32"]["median"]
    assert ours["images_per_second"] == pytest.approx(100 / 3.2, abs=0.01)
    assert ours["bound"] == {"wall": pytest.approx(33.33, abs=0.01), "cpu": pytest.approx(33.33, abs=0.01)}
    assert ours["share_of_bound"] == {"wall": pytest.approx(3 / 3.2, abs=1e-4), "cpu": pytest.approx(3 / 3.2, abs=1e-4)}
    assert ours["times_article_images_per_second"] == pytest.approx(8 / 3.2, abs=1e-3)
    assert ours["times_article_images_per_cpu_second"] == pytest.approx(8.5 / 3.2, abs=2e-3)
    assert ways["article"]["median"]["times_article_images_per_second"] == 1
    assert "bound" not in ways["article"]["median"]


def test_ends_and_bounds_stand_with_all_that_belongs_to_them(results: dict[str, Any]) -> None:
    made = embed_tables.all_tables(results)
    article, _, ours = lines(made["embed-ends"])
    assert article[2:7] == ["the article's way", "12.5", "11.8", "1.00", "1.00"]
    assert ours[2:] == ["openvino f32", "31.2", "31.2", "2.50", "2.66", "300.0 MB", "150.0 MB", "31.2 33.3 3.3"]
    rows = lines(made["embed-bound"])
    assert [row[1] for row in rows] == ["keras f32"] * 2 + ["openvino f32"] * 2
    assert rows[2][2:] == ["per CPU second", "100.0", "50.0", "33.3", "31.2", "93.8%"]


def test_a_source_that_is_not_taken_is_named(results: dict[str, Any]) -> None:
    folder, tar, left_out = lines(embed_tables.all_tables(results)["embed-sources"])
    assert folder[-2:] == ["100.0%", "100.0%"]
    assert tar[-2:] == ["97.6%", "100.0%"]
    assert left_out[1:3] == ["zip", "left out: this version takes no such source"]


def test_each_target_is_met_or_missed_by_its_own_figure(results: dict[str, Any]) -> None:
    rows = {(row[0], row[1]): row[2:] for row in lines(embed_tables.all_tables(results)["embed-targets"])}
    model = "efficientnet-b0"
    assert rows["openvino f32, times the article's rate: at least 2.2", model] == ["2.500", "met"]
    assert rows["openvino f32, share of the bound per CPU second: at least 0.95", model] == ["0.938", "missed"]
    assert rows["openvino bf16: at least 3.5 times the article's rate", model] == ["this CPU can't", "not measured"]
    assert rows["a tar, share of the folder's rate: at least 0.95", "b0"] == ["0.976", "met"]
    assert rows["listing resident: at most 500.0 MB", "2,000,000 paths, tree"] == ["500.0 MB", "missed"]
    assert rows["listing: at most 60.00 s", "2,000,000 paths, list"] == ["30.50 s", "met"]
    assert rows["embed worker resident: at most 450.0 MB", "b4, 256 images"] == ["400.0 MB", "met"]
    assert rows["asking for the work: at most 1.00 s", "40 partitions"] == ["0.25 s", "met"]


def test_what_one_section_has_measured_stands_alone(results: dict[str, Any]) -> None:
    made = embed_tables.all_tables({**HEADER, **{key: results[key] for key in ("facts", "repeats", "photographs")}})
    assert made.pop("embed-run") != embed_tables.NOT_MEASURED
    assert set(made.values()) == {embed_tables.NOT_MEASURED}


def photos(folder: Path, count: int) -> list[str]:
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (40, 30), (number * 9 % 256, number, 7)).save(folder / f"{number:02d}.png")
    return list(open_source(str(folder)))


def test_images_are_chosen_evenly_and_none_twice_by_its_bytes(tmp_path: Path) -> None:
    paths = photos(tmp_path / "photos", 20)
    (tmp_path / "photos" / "copy of 01.png").write_bytes(Path(paths[1]).read_bytes())
    listing = embed.write_chosen(list(open_source(str(tmp_path / "photos"))), 5, tmp_path)
    names = [Path(path).name for path in listing.read_text().splitlines()]
    assert names == ["00.png", "05.png", "09.png", "13.png", "17.png"]  # Of twenty: "01.png" stands as its copy.
    every = embed.write_chosen(list(open_source(str(tmp_path / "photos"))), 99, tmp_path).read_text().splitlines()
    assert len({Path(path).read_bytes() for path in every}) == len(every) == 20
    assert len(embed.write_chosen(paths, 99, tmp_path).read_text().splitlines()) == 20


def test_folder_tar_and_zip_hold_the_same_bytes_in_the_same_order(tmp_path: Path) -> None:
    paths = photos(tmp_path / "photos", 3)
    (tmp_path / "made").mkdir()
    made = embed_sources.pack(paths, tmp_path / "made")
    expected = [Path(path).read_bytes() for path in paths]
    assert [path.read_bytes() for path in sorted(made["folder"].iterdir())] == expected
    with tarfile.open(made["tar"]) as tar, zipfile.ZipFile(made["zip"]) as archive:
        assert [tar.extractfile(name).read() for name in tar.getnames()] == expected  # type: ignore[union-attr]
        assert [archive.read(name) for name in archive.namelist()] == expected
    assert embed_sources.is_taken(made["folder"])
    assert not embed_sources.is_taken(tmp_path / "nothing")


def test_a_made_list_and_a_made_tree_are_listed_whole(tmp_path: Path) -> None:
    embed_listing.write_list(tmp_path / "list.txt", 2_500)
    embed_listing.make_tree(tmp_path / "tree", 2_500)
    for source in ("list.txt", "tree"):
        found = embed_listing.listing(str(tmp_path / source), JobDir.at(tmp_path / f"of-{source}"))
        assert (found["paths"], found["partitions"]) == (2_500, 1)
        assert found["peak_rss_bytes"] >= found["peak_own_bytes"] > 10_000_000
    assert sorted(path.name for path in (tmp_path / "tree").iterdir()) == ["000000", "000001", "000002"]


def test_the_parts_are_measured_over_as_many_images_as_the_whole(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 11)
    job = JobDir.at(tmp_path / "job")
    manifest = make_or_open(str(tmp_path / "photos"), job, Settings(partition_size=7), lambda count: None)
    calls: list[Any] = []

    def embed_batch(images: Any) -> Any:
        calls.append(images)
        return images

    parts = embed_once._parts(job, manifest, embed_batch, 4)
    assert (parts["decode"]["images"], parts["model"]["images"]) == (11, 12)
    assert [images.shape for images in calls] == [(4, 224, 224, 3)] * 3
    assert calls[0][0, 0, 0].tolist() == [0, 0, 7]
    assert parts["decode"]["wall_seconds"] > 0


def test_the_article_reads_as_the_article_does(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (40, 30), (250, 120, 7)).save(path)
    found = embed_once._read_as_the_article(str(path))
    assert (found.shape, found.dtype) == ((224, 224, 3), np.uint8)
    assert found[5, 5].tolist() == [250, 120, 7]
    with pytest.raises(SystemExit, match="list whole images only"):
        embed_once._read_as_the_article(str(tmp_path / "nothing.png"))


def test_what_is_asked_for_makes_the_job_that_it_says() -> None:
    asked = Asked("efficientnet-b4", "w.h5", "openvino", "bf16", "cache")
    settings = asked.settings()
    assert (settings.model, settings.weights) == ("efficientnet-b4", Path("w.h5"))
    assert (settings.engine, settings.precision, settings.cache_dir) == ("openvino", "bf16", Path("cache"))
    assert '"parts": true' in asked.to_json()


def test_a_process_is_seen_with_what_it_holds_for_itself() -> None:
    usage = processes._usage(os.getpid())
    assert usage is not None
    assert usage.peak_rss_bytes > usage.peak_own_bytes > 10_000_000
