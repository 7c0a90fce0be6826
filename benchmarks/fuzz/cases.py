"""A folder of whole and damaged images of every format, a source of `index`; some also are in a tar beside it."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.fuzz.files import FORMATS, mutated, seeds

TAR = "some.tar"
_SUFFIXES = {"JPEG": "jpg", "JPEG2000": "jp2", "TIFF": "tif", "float TIFF": "tif", "JPEG XL": "jxl", "RAW": "dng"}


def write_cases(folder: Path, files: int, *, every: int = 10, kinds: Iterable[str] = FORMATS) -> int:
    """Write the seeds and mutations 0 to `files` - 1 of each of `kinds`; how many images the folder then has.

    Those of a format are in a folder of its name. Every seed and each `every`th mutation is in the tar `some.tar` too,
    under the same name.
    """
    images = 0
    folder.mkdir(parents=True)
    with tarfile.open(folder / TAR, "w") as tar:
        for kind in kinds:
            (folder / kind).mkdir()
            whole = seeds(kind)
            suffix = _SUFFIXES.get(kind, kind.lower())
            cases = [(f"{kind}/whole{number}.{suffix}", True, data) for number, data in enumerate(whole)]
            cases += [
                (f"{kind}/{number:05d}.{suffix}", number % every == 0, mutated(whole, number, kind))
                for number in range(files)
            ]
            for name, also_in_tar, data in cases:
                (folder / name).write_bytes(data)
                images += 1
                if also_in_tar:
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                    images += 1
    return images


def kind_of(folder: Path, image_path: str) -> str:
    """The format of an image of `write_cases`, by its path as it was listed."""
    return name_of(folder, image_path).partition("/")[0]


def name_of(folder: Path, image_path: str) -> str:
    """The name that an image has in the folder and in the tar."""
    return image_path.rpartition("::")[2] if "::" in image_path else str(Path(image_path).relative_to(folder))
