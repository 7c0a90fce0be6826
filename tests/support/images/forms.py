"""The same twelve images in every form that a source may have, and what each form says of them."""

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NAMES = [f"{'ab'[number // 6]}/{number:02d}.{('png', 'jpg')[number % 2]}" for number in range(12)]
CAPTIONS = [f"caption {number}" for number in range(12)]


def contents() -> dict[str, bytes]:
    """The bytes of the images by their names, the sixth a copy of the second, and the ninth broken."""
    rng = np.random.default_rng(5)
    made = {}
    for name in NAMES:
        done, encoded = cv2.imencode(Path(name).suffix, rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
        assert done
        made[name] = encoded.tobytes()
    made[NAMES[5]] = made[NAMES[1]]
    made[NAMES[8]] = b"this is no image"
    return made


CONTENTS = contents()


def write_folder(folder: Path, contents: Mapping[str, bytes] = CONTENTS) -> Path:
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_tar(path: Path, contents: Mapping[str, bytes] = CONTENTS, before: str = "") -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(before + name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_zip(path: Path, contents: Mapping[str, bytes] = CONTENTS, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as opened:
        for name, data in contents.items():
            opened.writestr(name, data)
    return path


def half(first: bool) -> dict[str, bytes]:
    return {name: CONTENTS[name] for name in (NAMES[:6] if first else NAMES[6:])}


@dataclass(frozen=True)
class Form:
    """A source as it is typed, what its paths end with, and the columns that it knows besides."""

    source: str
    suffixes: list[str]
    known: dict[str, list[Any]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)


def _folder(folder: Path) -> Form:
    return Form(str(write_folder(folder / "photos")), [f"photos/{name}" for name in NAMES])


def _text_list(folder: Path) -> Form:
    write_folder(folder / "photos")
    (folder / "list.txt").write_text("".join(f"photos/{name}\n" for name in NAMES))
    return Form(str(folder / "list.txt"), [f"photos/{name}" for name in NAMES])


def _csv(folder: Path) -> Form:
    write_folder(folder / "photos")
    with open(folder / "list.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["caption", "File", "stars", "width"])
        rows.writerows([CAPTIONS[n], f"photos/{name}", n if n % 2 else "", "007"] for n, name in enumerate(NAMES))
    known: dict[str, list[Any]] = {
        "caption": CAPTIONS,
        "stars": [n if n % 2 else None for n in range(12)],
        "source_width": ["007"] * 12,
    }
    return Form(str(folder / "list.csv"), [f"photos/{name}" for name in NAMES], known)


def _parquet_list(folder: Path) -> Form:
    write_folder(folder / "photos")
    table = pa.table(
        {
            "image_path": [f"photos/{name}" for name in NAMES],
            "when": pa.array([n * 10**9 + n for n in range(12)], pa.timestamp("ns")),
            "vector": [[1.0, 2.0]] * 12,
        }
    )
    pq.write_table(table, folder / "list.parquet")
    # Python's times end at microseconds: what does not is kept as text, the others beside it too.
    known = {"when": ["1970-01-01T00:00:00"] + [f"1970-01-01T00:00:{n:02d}.0000000{n:02d}" for n in range(1, 12)]}
    kind = pq.read_schema(folder / "list.parquet").field("vector").type
    return Form(
        str(folder / "list.parquet"), [f"photos/{name}" for name in NAMES], known, {f"column vector of {kind}": 1}
    )


def _tar(folder: Path) -> Form:
    return Form(str(write_tar(folder / "photos.tar")), [f"photos.tar::{name}" for name in NAMES])


def _tar_with_dots(folder: Path) -> Form:
    return Form(str(write_tar(folder / "Photos.TAR", before="./")), [f"Photos.TAR::{name}" for name in NAMES])


def _zip(folder: Path) -> Form:
    return Form(str(write_zip(folder / "photos.zip")), [f"photos.zip::{name}" for name in NAMES])


def _stored_zip(folder: Path) -> Form:
    path = write_zip(folder / "photos.zip", method=zipfile.ZIP_STORED)
    return Form(str(path), [f"photos.zip::{name}" for name in NAMES])


def _bzip2_zip(folder: Path) -> Form:
    path = write_zip(folder / "photos.zip", method=zipfile.ZIP_BZIP2)
    return Form(str(path), [f"photos.zip::{name}" for name in NAMES])


def _hugging_face(folder: Path) -> Form:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": CONTENTS[name], "path": Path(name).name} for name in NAMES], kind)
    path = folder / "train-00000.parquet"
    pq.write_table(pa.table({"image": images, "label": range(12)}), path, row_group_size=5)
    suffixes = [f"train-00000.parquet::{row}/{Path(name).name}" for row, name in enumerate(NAMES)]
    return Form(str(path), suffixes, {"label": list(range(12))})


def _img2dataset_parquet(folder: Path) -> Form:
    table = pa.table({"key": [f"{n:09d}" for n in range(12)], "jpg": [CONTENTS[name] for name in NAMES],
                      "caption": CAPTIONS})  # fmt: skip
    pq.write_table(table, folder / "00000.parquet")
    known = {"key": [f"{n:09d}" for n in range(12)], "caption": CAPTIONS}
    return Form(str(folder / "00000.parquet"), [f"00000.parquet::{row}" for row in range(12)], known)


def _webdataset(folder: Path) -> Form:
    """Two shards as img2dataset writes them, each with the Parquet file of its metadata beside it."""
    (folder / "shards").mkdir()
    for shard in range(2):
        samples: dict[str, bytes] = {}
        for number in range(6 * shard, 6 * shard + 6):
            table = {"caption": CAPTIONS[number], "width": 30, "similarity": 1 if number < 6 else number / 2,
                     "exif": {"a": 1}}  # fmt: skip
            # Beside the image in any order.
            samples[f"{number:09d}.json"] = json.dumps(table).encode()
            samples[f"{number:09d}{Path(NAMES[number]).suffix}"] = CONTENTS[NAMES[number]]
            samples[f"{number:09d}.txt"] = f"text {number}".encode()
            samples[f"{number:09d}.cls"] = str(number).encode()
        write_tar(folder / "shards" / f"{shard:05d}.tar", samples)
        pq.write_table(pa.table({"key": ["x"], "caption": ["y"]}), folder / "shards" / f"{shard:05d}.parquet")
        (folder / "shards" / f"{shard:05d}_stats.json").write_text("{}")
    suffixes = [f"{n // 6:05d}.tar::{n:09d}{Path(name).suffix}" for n, name in enumerate(NAMES)]
    known: dict[str, list[Any]] = {
        "caption": CAPTIONS,
        "source_width": [30] * 12,
        "similarity": [1.0] * 6 + [n / 2 for n in range(6, 12)],
        "exif": ['{"a": 1}'] * 12,
        "txt": [f"text {n}" for n in range(12)],
        "cls": list(range(12)),
    }
    return Form(str(folder / "shards"), suffixes, known, {"Parquet file without images": 2, ".json": 2})


def _glob(folder: Path) -> Form:
    """Archives of several kinds, and an image, by a pattern."""
    write_zip(folder / "2.zip", half(False))
    write_tar(folder / "1.tar", half(True))
    (folder / "other.txt").touch()
    suffixes = [f"1.tar::{name}" for name in NAMES[:6]] + [f"2.zip::{name}" for name in NAMES[6:]]
    return Form(str(folder / "[0-9].*"), suffixes)


FORMS: dict[str, Callable[[Path], Form]] = {
    "folder": _folder,
    "text list": _text_list,
    "csv": _csv,
    "parquet list": _parquet_list,
    "tar": _tar,
    "tar with dots": _tar_with_dots,
    "zip": _zip,
    "stored zip": _stored_zip,
    "bzip2 zip": _bzip2_zip,
    "hugging face": _hugging_face,
    "img2dataset parquet": _img2dataset_parquet,
    "webdataset": _webdataset,
    "glob": _glob,
}
