import importlib.util
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import SourceError, UsageError
from workers.evaluate import demo_tiles
from workers.evaluate.demo_photos import DemoPhotos, main, make_demo_photos
from workers.evaluate.demo_tiles import installed_photographs
from workers.images.alterations import ALTERATIONS, alter
from workers.images.encode import encode_jpeg

pytestmark = pytest.mark.slow


def scene(seed: int, height: int = 300, width: int = 400) -> np.ndarray:
    """Blobs of random colours, a few in each tile: RGB uint8 [height, width, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def saved(folder: Path, **images: np.ndarray) -> list[Path]:
    folder.mkdir()
    for name, image in images.items():
        (folder / f"{name}.jpg").write_bytes(encode_jpeg(image, 95))
    return [folder / f"{name}.jpg" for name in images]


def pixels(path: Path) -> np.ndarray:
    bgr = cv2.imread(str(path))
    assert bgr is not None
    return np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    return saved(tmp_path / "given", north=scene(1), south=scene(2))


def test_a_photograph_gives_its_whole_view_and_every_tile_that_is_told_apart(
    tmp_path: Path, photographs: list[Path]
) -> None:
    made = make_demo_photos(tmp_path / "out", photographs, sampled=3)
    # 300 x 400 px: 256 px fits once, so not at all; 128 px fits 2 x 3 times, 80 px fits 3 x 5 times.
    assert made.by_source == {"north": 22, "south": 22}
    north = tmp_path / "out/photos/north"
    names = {path.name for path in north.iterdir()}
    assert {"north-whole.jpg", "north-128px-r1c2.jpg", "north-80px-r2c4.jpg"} <= names
    assert not any("256px" in name for name in names)
    assert pixels(north / "north-whole.jpg").shape == (300, 400, 3)
    tile = pixels(north / "north-128px-r1c2.jpg")
    assert tile.shape == (256, 256, 3)
    # The grid is centred: 22 px are lost above, 8 px on the left.
    cut = pixels(photographs[0])[22 + 128 : 22 + 256, 8 + 256 : 8 + 384]
    back = cv2.resize(tile, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(back.astype(int) - cut).mean() < 4


def test_a_side_that_fits_more_than_once_is_used(tmp_path: Path) -> None:
    wide = saved(tmp_path / "given", wide=scene(3, height=260, width=520))
    make_demo_photos(tmp_path / "out", wide, sampled=1)
    names = {path.name for path in (tmp_path / "out/photos/wide").iterdir()}
    assert {"wide-256px-r0c0.jpg", "wide-256px-r0c1.jpg"} <= names


def test_flat_and_evenly_shaded_tiles_are_left_out(tmp_path: Path) -> None:
    image = scene(1)
    sky = np.linspace(40, 220, 300).astype(np.uint8)[:, None, None]
    image[:, :200] = sky  # It darkens evenly, so its tiles hold nothing to tell them apart.
    made = make_demo_photos(tmp_path / "out", saved(tmp_path / "given", half=image), sampled=1)
    assert made.too_flat > 0
    # The left two of the five 80 px columns are in the sky, the right two in the blobs.
    columns = {int(p.stem[-1]) for p in (tmp_path / "out/photos/half").glob("half-80px-*")}
    assert columns.isdisjoint({0, 1})
    assert {3, 4} <= columns


@pytest.mark.parametrize("likeness", ["again", "mirrored", "brighter", "grey"])
def test_what_looks_like_a_photo_kept_before_is_left_out(tmp_path: Path, likeness: str) -> None:
    image = scene(4, height=160, width=480)
    copy = {
        "again": image,
        "mirrored": image[:, ::-1],
        "brighter": np.clip(image * 0.8 + 40, 0, 255).astype(np.uint8),
        "grey": cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
    }[likeness]
    made = make_demo_photos(tmp_path / "out", saved(tmp_path / "given", first=image, second=copy), sampled=1)
    assert made.by_source["first"] == 1 + 3 + 12
    # Only the whole view, which always stays.
    assert made.by_source["second"] == 1
    assert made.near_duplicates == 3 + 12


def test_a_tile_that_is_the_whole_of_another_photograph_is_left_out(tmp_path: Path) -> None:
    image = scene(5, height=80, width=160)
    made = make_demo_photos(tmp_path / "out", saved(tmp_path / "given", left=image[:, :80], both=image), sampled=1)
    assert {path.stem for path in (tmp_path / "out/photos/both").iterdir()} == {"both-whole", "both-80px-r0c1"}
    assert made.near_duplicates == 1


def test_every_query_is_an_altered_copy_of_the_photo_it_names(tmp_path: Path, photographs: list[Path]) -> None:
    out = tmp_path / "out"
    made = make_demo_photos(out, photographs, sampled=6)
    listing = json.loads((out / "queries.json").read_text())
    assert made.queries == len(listing) == 6 * len(ALTERATIONS)
    assert {entry["query"] for entry in listing} == {
        p.relative_to(out).as_posix() for p in (out / "queries").rglob("*.jpg")
    }
    for entry in listing:
        original = pixels(out / entry["original"])
        assert (out / entry["query"]).read_bytes() == alter(entry["alteration"], original)


def test_queries_take_the_photographs_in_turn_and_are_mixed(tmp_path: Path, photographs: list[Path]) -> None:
    make_demo_photos(tmp_path / "out", photographs, sampled=6)
    listing = json.loads((tmp_path / "out/queries.json").read_text())
    first = listing[:6]
    assert len({entry["original"] for entry in first}) == 6
    assert len({entry["alteration"] for entry in first}) == 6
    assert sum("/north/" in entry["original"] for entry in first) == 3


def test_another_seed_samples_other_photos(tmp_path: Path, photographs: list[Path]) -> None:
    def originals(seed: int) -> set[str]:
        out = tmp_path / f"out{seed}"
        make_demo_photos(out, photographs, sampled=6, seed=seed)
        return {entry["original"] for entry in json.loads((out / "queries.json").read_text())}

    assert originals(1) != originals(2)


def test_the_same_photographs_give_the_same_bytes_elsewhere(tmp_path: Path, photographs: list[Path]) -> None:
    for name in ("one", "two"):
        make_demo_photos(tmp_path / name, photographs, sampled=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_rerun_writes_nothing(tmp_path: Path, photographs: list[Path]) -> None:
    out = tmp_path / "out"
    first = make_demo_photos(out, photographs, sampled=3)
    assert first.written == first.photos + first.queries + 1
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert make_demo_photos(out, photographs, sampled=3).written == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times


def test_a_rerun_repairs_what_is_missing_or_damaged_and_no_more(tmp_path: Path, photographs: list[Path]) -> None:
    out = tmp_path / "out"
    make_demo_photos(out, photographs, sampled=3)
    whole = contents(out)
    (out / "photos/north/north-whole.jpg").unlink()
    (out / "photos/south/south-whole.jpg").write_bytes(b"cut short")
    assert make_demo_photos(out, photographs, sampled=3).written == 3  # these two and the listing
    assert contents(out) == whole


def test_the_listing_appears_last(tmp_path: Path, photographs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    make_demo_photos(out, photographs, sampled=3)
    whole = contents(out)
    (out / "photos/north/north-whole.jpg").unlink()

    write_bytes = Path.write_bytes

    def killed(path: Path, data: bytes) -> int:
        if path.suffix == ".jpg":
            raise KeyboardInterrupt
        return write_bytes(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            make_demo_photos(out, photographs, sampled=3)
    assert not (out / "queries.json").exists()
    make_demo_photos(out, photographs, sampled=3)
    assert contents(out) == whole


def test_a_folder_with_other_photos_is_refused_and_left_as_it_was(tmp_path: Path, photographs: list[Path]) -> None:
    out = tmp_path / "out"
    (out / "photos").mkdir(parents=True)
    (out / "photos/holiday.jpg").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"holiday\.jpg.*choose an empty folder"):
        make_demo_photos(out, photographs, sampled=3)
    assert contents(out) == {"photos/holiday.jpg": b"mine"}


@pytest.mark.parametrize("sampled", [0, 45])
def test_a_sample_of_none_or_of_more_than_there_are_is_refused(
    tmp_path: Path, photographs: list[Path], sampled: int
) -> None:
    with pytest.raises(UsageError, match=rf"^{sampled} photos.*ask for 1 to 44"):
        make_demo_photos(tmp_path / "out", photographs, sampled=sampled)
    assert not (tmp_path / "out").exists()


def test_two_photographs_of_one_name_are_refused(tmp_path: Path, photographs: list[Path]) -> None:
    other = saved(tmp_path / "other", north=scene(9))
    with pytest.raises(UsageError, match="'north'"):
        make_demo_photos(tmp_path / "out", [*photographs, *other])


def test_a_photograph_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_text("not a picture")
    with pytest.raises(SourceError, match=r"page\.png"):
        make_demo_photos(tmp_path / "out", [tmp_path / "page.png"])
    with pytest.raises(SourceError, match=r"gone\.png"):
        make_demo_photos(tmp_path / "out", [tmp_path / "gone.png"])


@pytest.mark.parametrize(("package", "distribution"), [("skimage", "scikit-image"), ("sklearn", "scikit-learn")])
def test_a_missing_package_is_told_with_the_extra_that_brings_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    package: str,
    distribution: str,
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
    assert main([str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert distribution in told
    assert "lookalike[demo]" in told
    assert not (tmp_path / "out").exists()


def test_a_photograph_that_a_package_does_not_carry_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = (("scikit-image", "skimage", "data", "coffee.png no-such-photo.png"),)
    monkeypatch.setattr(demo_tiles, "PHOTOGRAPHS", listed)
    found, absent = installed_photographs()
    assert [path.name for path in found] == ["coffee.png"]
    assert absent == ("scikit-image: no-such-photo.png",)


def test_the_installed_photographs_give_about_a_thousand_photos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    made = DemoPhotos(**{**told, "absent": tuple(told["absent"])})
    assert made.absent == ()
    assert 900 <= made.photos <= 1_100
    assert made.photos == sum(made.by_source.values()) == len(list((out / "photos").rglob("*.jpg")))
    assert made.queries == 40 * len(ALTERATIONS)
    listing = json.loads((out / "queries.json").read_text())
    assert [one["original"] for one in listing[made.queries :]] == [None] * 3
    assert all((out / one["query"]).is_file() for one in listing)
    assert min(made.by_source.values()) > 10
    # Bytes: what a demo may leave on somebody's disk.
    assert sum(os.path.getsize(path) for path in out.rglob("*.jpg")) < 20e6
    assert main([str(out)]) == 0
    assert "0 files written" in capsys.readouterr().out
