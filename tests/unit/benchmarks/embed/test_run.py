"""What the embedding benchmark chooses, makes and measures."""

import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.embed import copies, listing, once, sources
from benchmarks.embed.once import Asked
from benchmarks.embed.run import write_chosen
from coordinator.jobs.create import make_or_open
from coordinator.sources.resolve import open_source
from shared.job.directory import JobDir
from shared.settings import Settings
from tests.support.embedders import AnyModel


def photos(folder: Path, count: int) -> list[str]:
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (40, 30), (number * 9 % 256, number, 7)).save(folder / f"{number:02d}.png")
    return list(open_source(str(folder)))


def test_images_are_chosen_evenly_and_none_twice_by_its_bytes(tmp_path: Path) -> None:
    paths = photos(tmp_path / "photos", 20)
    (tmp_path / "photos" / "copy of 01.png").write_bytes(Path(paths[1]).read_bytes())
    chosen = write_chosen(list(open_source(str(tmp_path / "photos"))), 5, tmp_path)
    names = [Path(path).name for path in chosen.read_text().splitlines()]
    assert names == ["00.png", "05.png", "09.png", "13.png", "17.png"]  # Of twenty: "01.png" stands as its copy.
    every = write_chosen(list(open_source(str(tmp_path / "photos"))), 99, tmp_path).read_text().splitlines()
    assert len({Path(path).read_bytes() for path in every}) == len(every) == 20
    assert len(write_chosen(paths, 99, tmp_path).read_text().splitlines()) == 20


def test_folder_tar_and_zip_hold_the_same_bytes_in_the_same_order(tmp_path: Path) -> None:
    paths = photos(tmp_path / "photos", 3)
    (tmp_path / "made").mkdir()
    made = sources.pack(paths, tmp_path / "made")
    expected = [Path(path).read_bytes() for path in paths]
    assert [path.read_bytes() for path in sorted(made["folder"].iterdir())] == expected
    with tarfile.open(made["tar"]) as tar, zipfile.ZipFile(made["zip"]) as archive:
        assert [tar.extractfile(name).read() for name in tar.getnames()] == expected  # type: ignore[union-attr]
        assert [archive.read(name) for name in archive.namelist()] == expected
    assert sources.is_taken(made["folder"])
    assert not sources.is_taken(tmp_path / "nothing")


def test_a_made_list_and_a_made_tree_are_listed_whole(tmp_path: Path) -> None:
    listing.write_list(tmp_path / "list.txt", 2_500)
    listing.make_tree(tmp_path / "tree", 2_500)
    for source in ("list.txt", "tree"):
        found = listing.listing(str(tmp_path / source), JobDir.at(tmp_path / f"of-{source}"))
        assert (found["paths"], found["partitions"]) == (2_500, 1)
        assert found["peak_rss_bytes"] >= found["peak_own_bytes"] > 10_000_000
    assert sorted(path.name for path in (tmp_path / "tree").iterdir()) == ["000000", "000001", "000002"]


def test_the_parts_are_measured_over_as_many_images_as_the_whole(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 11)
    job = JobDir.at(tmp_path / "job")
    job = make_or_open(str(tmp_path / "photos"), job, Settings(partition_size=7), lambda count: None)
    calls: list[Any] = []

    def embed_batch(images: Any) -> Any:
        calls.append(images)
        return images

    parts = once._parts(job, embed_batch, 4)
    assert (parts["decode"]["images"], parts["model"]["images"]) == (11, 12)
    assert [images.shape for images in calls] == [(4, 224, 224, 3)] * 3
    assert calls[0][0, 0, 0].tolist() == [0, 0, 7]
    assert parts["decode"]["wall_seconds"] > 0


def test_the_article_reads_as_the_article_does(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (40, 30), (250, 120, 7)).save(path)
    found = once._read_as_the_article(str(path))
    assert (found.shape, found.dtype) == ((224, 224, 3), np.uint8)
    assert found[5, 5].tolist() == [250, 120, 7]
    with pytest.raises(SystemExit, match="list whole images only"):
        once._read_as_the_article(str(tmp_path / "nothing.png"))


def test_what_is_asked_for_makes_the_job_that_it_says() -> None:
    asked = Asked("efficientnet-b4", "w.h5", "openvino", "bf16", "cache")
    settings = asked.settings()
    assert (settings.model, settings.weights) == ("efficientnet-b4", Path("w.h5"))
    assert (settings.engine, settings.precision, settings.cache_dir) == ("openvino", "bf16", Path("cache"))
    assert '"parts": true' in asked.to_json()


def test_of_copies_in_other_partitions_the_model_gets_none_and_gives_the_same(tmp_path: Path) -> None:
    paths = photos(tmp_path / "photos", 20)
    job = make_or_open(paths[0].rsplit("/", 1)[0], JobDir(tmp_path / "model"), Settings(), lambda count: None)
    found = copies.measure(str(tmp_path / "photos"), tmp_path / "made", AnyModel(job.manifest))
    assert (found["apart"]["listed"], found["together"]["embedded"]) == (30, 20)
    assert 20 < found["apart"]["embedded"] <= 30
    for number in range(copies.PARTITIONS):
        apart, together = (np.load(JobDir(tmp_path / "made" / way).img_emb(number)) for way in ("apart", "together"))
        assert np.array_equal(apart, together)
