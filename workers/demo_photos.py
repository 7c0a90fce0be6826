"""The room of the demo's photographs: about a thousand distinct photos, cut out of those that two packages carry."""

import argparse
import hashlib
import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from shared.errors import LookalikeError, SourceError, UsageError
from shared.files import write_bytes
from workers.alterations import ALTERATIONS, Image, encode_jpeg

# Real photographs only: no drawing, no chart, and of the stereo pair one picture. page.png stays out because libpng
# complains about its colour profile on stderr.
PHOTOGRAPHS = {
    "skimage": (
        "data",
        "astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png "
        "hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png retina.jpg rocket.jpg text.png",
    ),
    "sklearn": ("datasets/images", "china.jpg flower.jpg"),
}
DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}

TILE_SIDES = (256, 128, 80)
WRITTEN_SIDE = 256
PHOTO_QUALITY = 92
THUMBNAIL_SIDE = 16
FLAT_BELOW = 8.0
DUPLICATE_ABOVE = 0.95
SEED = 7

Thumbnail = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DemoPhotos:
    """What lies under `out`: how many photos and queries, and which candidates became none.

    `by_source` counts the photos of each photograph; `too_flat` and `near_duplicates` count the candidates left out;
    `absent` names photographs that the installed packages do not carry; `written` counts the files that this call
    had to write (0 when all were there already).
    """

    out: str
    photos: int
    queries: int
    by_source: dict[str, int]
    too_flat: int
    near_duplicates: int
    absent: tuple[str, ...]
    written: int


def make_demo_photos(
    out: Path, photographs: Sequence[Path] | None = None, sampled: int = 40, seed: int = SEED
) -> DemoPhotos:
    """Write `out`/photos/<source>/<name>.jpg, altered copies under `out`/queries, and last `out`/queries.json.

    Every photograph gives its whole view and square tiles without overlap at each side of `TILE_SIDES` (px), written
    256 px wide, the size of a catalogue's thumbnail. A side that fits only once is left out: it would be the
    photograph again, cropped. A tile is kept where its 16 x 16 grey thumbnail is not too flat (standard deviation of
    at least 8 of 255) and correlates by at most 0.95 with that of each photo kept before, mirrored or not.

    `sampled` photos are altered in each of the ways of `workers.alterations`. They are taken in turn from the
    photographs, within one in the order of a hash with `seed`. queries.json is a list of {"query", "alteration",
    "original"}, its paths relative to `out`; it is written last, so where it lies the set is whole. The same
    photographs give the same bytes, and a file that is there already with these bytes is not written again.

    `photographs` are image files, by default those of the installed packages. Raises SourceError where a package or
    a photograph is missing, and UsageError where `out` holds files of another making.
    """
    absent: tuple[str, ...] = ()
    if photographs is None:
        photographs, absent = installed_photographs()
    photos: dict[str, dict[str, bytes]] = {}
    kept_back: Counter[str] = Counter()
    queries: dict[str, bytes] = {}
    listed: list[dict[str, str]] = []
    thumbnails: list[Thumbnail] = []
    for source in photographs:
        photos[source.stem] = {}
        for name, image in _views(source.stem, _read(source)):
            thumbnail = _thumbnail(image)
            reason = _reason_against(thumbnail, thumbnails)
            if reason and not name.endswith("-whole"):
                kept_back[reason] += 1
                continue
            thumbnails.append(_comparable(thumbnail))
            photos[source.stem][name] = encode_jpeg(image, PHOTO_QUALITY)
    for source_name, name in _sample(photos, sampled, seed):
        # Altered from the written bytes, as a stranger's copy of the file would be.
        image = _decoded(photos[source_name][name], name)
        for alteration in ALTERATIONS.values():
            query = f"queries/{alteration.slug}/{name}.jpg"
            queries[query] = alteration(image)
            original = f"photos/{source_name}/{name}.jpg"
            listed.append({"query": query, "alteration": alteration.name, "original": original})
    files = {f"photos/{source}/{name}.jpg": data for source, of in photos.items() for name, data in of.items()}
    written = _write(out, files | queries, (json.dumps(listed, indent=1) + "\n").encode())
    return DemoPhotos(
        out=str(out),
        photos=len(files),
        queries=len(queries),
        by_source={source: len(of) for source, of in photos.items()},
        too_flat=kept_back["flat"],
        near_duplicates=kept_back["duplicate"],
        absent=absent,
        written=written,
    )


def installed_photographs() -> tuple[list[Path], tuple[str, ...]]:
    """The photographs inside the installed packages, and the names of those that they do not carry.

    The packages are located, never imported, and nothing is downloaded. Raises SourceError where one is missing.
    """
    found, absent = [], []
    for package, (folder, names) in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise SourceError(
                f"The demo's photographs lie inside {DISTRIBUTIONS[package]}, which is not installed; "
                "install the extra: pip install 'lookalike[demo]'."
            )
        for name in names.split():
            path = Path(spec.submodule_search_locations[0], folder, name)
            if path.is_file():
                found.append(path)
            else:
                absent.append(f"{DISTRIBUTIONS[package]}: {name}")
    return found, tuple(absent)


def _read(photograph: Path) -> Image:
    try:
        data = photograph.read_bytes()
    except OSError as error:
        raise SourceError(f"The photograph {photograph} can't be read: {error.strerror}; install it again.") from error
    return _decoded(data, str(photograph))


def _decoded(data: bytes, name: str) -> Image:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if bgr is None:
        raise SourceError(f"The photograph {name} holds no image that OpenCV can decode; install its package again.")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _views(source: str, photograph: Image) -> Iterator[tuple[str, Image]]:
    yield f"{source}-whole", photograph
    height, width = photograph.shape[:2]
    for side in TILE_SIDES:
        rows, columns = height // side, width // side
        if rows * columns < 2:
            continue
        # Centred, so what is lost at the edges is lost evenly.
        top, left = (height - rows * side) // 2, (width - columns * side) // 2
        for row in range(rows):
            for column in range(columns):
                y, x = top + row * side, left + column * side
                tile = photograph[y : y + side, x : x + side]
                if side != WRITTEN_SIDE:
                    tile = np.asarray(
                        cv2.resize(tile, (WRITTEN_SIDE, WRITTEN_SIDE), interpolation=cv2.INTER_CUBIC), dtype=np.uint8
                    )
                yield f"{source}-{side}px-r{row}c{column}", tile


def _thumbnail(image: Image) -> Thumbnail:
    small = cv2.resize(image, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def _comparable(thumbnail: Thumbnail) -> Thumbnail:
    """Zero mean and unit length, so that a product of two is their correlation; a flat one becomes zeros."""
    centred = (thumbnail - thumbnail.mean()).ravel()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-6), dtype=np.float32)


def _reason_against(thumbnail: Thumbnail, kept: Sequence[Thumbnail]) -> str:
    if float(thumbnail.std()) < FLAT_BELOW:
        return "flat"
    # Mirrored too, because "flip" is one of the alterations; and on grey, because "grey" is another.
    both = np.stack([_comparable(thumbnail), _comparable(thumbnail[:, ::-1])])
    return "duplicate" if kept and float((np.stack(kept) @ both.T).max()) > DUPLICATE_ABOVE else ""


def _sample(photos: dict[str, dict[str, bytes]], count: int, seed: int) -> list[tuple[str, str]]:
    """`count` photos, in turn from the photographs. By hash, so that it depends on no library's random numbers."""

    def lot(name: str) -> str:
        return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()

    total = sum(len(names) for names in photos.values())
    if not 1 <= count <= total:
        raise UsageError(f"{count} photos to alter were asked for, but there are {total}; ask for 1 to {total}.")
    in_turn = [
        (turn, lot(source), source, name)
        for source, names in photos.items()
        for turn, name in enumerate(sorted(names, key=lot))
    ]
    return [(source, name) for _, _, source, name in sorted(in_turn)[:count]]


def _write(out: Path, files: dict[str, bytes], listing: bytes) -> int:
    there = [path for folder in ("photos", "queries") for path in sorted((out / folder).rglob("*")) if path.is_file()]
    strange = [path for path in there if path.relative_to(out).as_posix() not in files]
    if strange:
        raise UsageError(
            f"{out} holds {len(strange)} files that these demo photos do not have, such as {strange[0]}; "
            "choose an empty folder, or remove this one."
        )
    same = {
        path.relative_to(out).as_posix() for path in there if path.read_bytes() == files[str(path.relative_to(out))]
    }
    missing = {name: data for name, data in files.items() if name not in same}
    marker = out / "queries.json"
    if not missing and marker.is_file() and marker.read_bytes() == listing:
        return 0
    marker.unlink(missing_ok=True)
    for folder in {(out / name).parent for name in missing}:
        folder.mkdir(parents=True, exist_ok=True)
    for name, data in missing.items():
        (out / name).write_bytes(data)
    write_bytes(marker, listing)
    return len(missing) + 1


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m workers.demo_photos OUT [--json]`: 0 when the photos lie there, 1 with a sentence on stderr if not."""
    parser = argparse.ArgumentParser(prog="python -m workers.demo_photos", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write photos/, queries/ and queries.json to")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    typed = parser.parse_args(arguments)
    try:
        made = make_demo_photos(typed.out)
    except LookalikeError as error:
        print(error, file=sys.stderr)
        return 1
    if typed.json:
        print(json.dumps(asdict(made)))
    else:
        print(
            f"{made.photos} photos of {len(made.by_source)} photographs and {made.queries} queries lie in {made.out} "
            f"({made.written} files written; {made.too_flat} candidates were too flat, "
            f"{made.near_duplicates} too like another)."
        )
        if made.absent:
            print(f"The installed packages do not carry: {', '.join(made.absent)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
