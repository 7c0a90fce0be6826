"""Cut about a thousand distinct photos for the demo out of those that two packages carry."""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from shared.errors import LookalikeError, UsageError
from shared.storage.files import write_bytes
from workers.evaluate.demo_tiles import (
    Thumbnail,
    decoded,
    installed_photographs,
    pictures_not_there,
    read_photograph,
    reason_against,
    thumbnail_of,
    tiles,
    unit,
)
from workers.images.alterations import ALTERATIONS
from workers.images.encode import encode_jpeg

PHOTO_QUALITY = 92
SEED = 7
SAMPLED = 40

Photos: TypeAlias = dict[str, dict[str, bytes]]  # JPEG bytes by source and name


@dataclass(frozen=True, slots=True)
class DemoPhotos:
    """The content of `out`: how many photos and altered copies (`queries`), and how many candidates were left out.

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
    out: Path,
    photographs: Sequence[Path] | None = None,
    sampled: int | None = None,
    seed: int = SEED,
    only: Sequence[str] = (),
) -> DemoPhotos:
    """Write `out`/photos/<source>/<name>.jpg, altered copies under `out`/queries, and last `out`/queries.json.

    Every photograph gives its whole view and square tiles without overlap at each side of `TILE_SIDES` (px), written
    256 px wide, the size of a catalogue's thumbnail. A side that fits only once is left out: it would be the photograph
    again, cropped. A tile is kept if its 16 x 16 grey thumbnail, less the plane that fits it best, is not too flat
    (standard deviation of at least 7 of 255) and correlates by at most 0.95 with that of each photo kept before,
    mirrored or not.

    `sampled` photos, by default SAMPLED or all where these are fewer, are altered in each of the ways of
    `workers.images.alterations`. They are taken in turn from the photographs, within one in the order of a hash with
    `seed`. queries.json is a list of {"query", "alteration", "original"}, its paths relative to `out`, mixed so that
    its first `sampled` entries show every sampled photo once. Its last entries, of the installed packages, are pictures
    that are not there: their "original" is null. It is written last, so if it is there the set is whole. The same
    photographs give the same bytes, and a file that is there already with these bytes is not written again.

    `photographs` are image files, by default those of the installed packages; `only` names some of these, as in
    "coffee", to be the only ones. Raises SourceError if a package or a photograph is missing, and UsageError if `out`
    holds other files, two photographs have the same name, `only` names another, or `sampled` is more than there are
    photos.
    """
    absent: tuple[str, ...] = ()
    strangers: list[Path] = []
    if photographs is None:
        strangers = pictures_not_there()
        photographs, absent = installed_photographs(only)
    photos, left_out = _photos_of(photographs)
    if sampled is None:
        sampled = min(SAMPLED, sum(map(len, photos.values())))
    queries, listing = _queries_of(photos, sampled, seed)
    files = {_photo_path(source, name): data for source, named in photos.items() for name, data in named.items()}
    for path in strangers:
        name = f"queries/not-there/{path.stem}.jpg"
        files[name] = encode_jpeg(read_photograph(path), PHOTO_QUALITY)
        listing.append({"query": name, "alteration": "not in the collection", "original": None})
    written = _write(out, files | queries, (json.dumps(listing, indent=1) + "\n").encode())
    return DemoPhotos(
        out=str(out),
        photos=sum(map(len, photos.values())),
        queries=len(queries),
        by_source={source: len(named) for source, named in photos.items()},
        too_flat=left_out["flat"],
        near_duplicates=left_out["duplicate"],
        absent=absent,
        written=written,
    )


def _photos_of(photographs: Sequence[Path]) -> tuple[Photos, Counter[str]]:
    photos: Photos = {}
    left_out: Counter[str] = Counter()
    kept: list[Thumbnail] = []
    for photograph in photographs:
        source = photograph.stem
        if source in photos:
            raise UsageError(f"Two photographs are called {source!r}; the second is {photograph}. Rename one of them.")
        whole = read_photograph(photograph)
        # The whole view is always kept: a reader of the results should see what the tiles were cut from.
        photos[source] = {f"{source}-whole": encode_jpeg(whole, PHOTO_QUALITY)}
        kept.append(unit(thumbnail_of(whole)))
        for name, tile in tiles(source, whole):
            thumbnail = thumbnail_of(tile)
            if reason := reason_against(thumbnail, kept):
                left_out[reason] += 1
                continue
            kept.append(unit(thumbnail))
            photos[source][name] = encode_jpeg(tile, PHOTO_QUALITY)
    return photos, left_out


def _queries_of(photos: Photos, sampled: int, seed: int) -> tuple[dict[str, bytes], list[dict[str, str | None]]]:
    sample = _sample(photos, sampled, seed)
    alterations = list(ALTERATIONS.values())
    queries: dict[str, bytes] = {}
    listing: list[dict[str, str | None]] = []
    for shift in range(len(alterations)):
        for place, (source, name) in enumerate(sample):
            alteration = alterations[(place + shift) % len(alterations)]
            path = f"queries/{alteration.slug}/{name}.jpg"
            # The copy is altered from the written bytes, as a copy found elsewhere would be.
            queries[path] = alteration(decoded(photos[source][name], name))
            listing.append({"query": path, "alteration": alteration.name, "original": _photo_path(source, name)})
    return queries, listing


def _photo_path(source: str, name: str) -> str:
    return f"photos/{source}/{name}.jpg"


def _sample(photos: Photos, count: int, seed: int) -> list[tuple[str, str]]:
    """`count` photos, in turn from the photographs, by hash, so that they depend on no library's random numbers."""

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
    there = {
        path.relative_to(out).as_posix(): path
        for folder in ("photos", "queries")
        for path in sorted((out / folder).rglob("*"))
        if path.is_file()
    }
    if strange := [path for name, path in there.items() if name not in files]:
        raise UsageError(
            f"{out} holds {len(strange)} files that these demo photos do not have, such as {strange[0]}; "
            "choose an empty folder, or remove this one."
        )
    same = {name for name, path in there.items() if path.read_bytes() == files[name]}
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
    """`python -m workers.evaluate.demo_photos OUT [--json]`: 0 when the photos are there, 1 with a sentence if not."""
    parser = argparse.ArgumentParser(prog="python -m workers.evaluate.demo_photos", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write photos/, queries/ and queries.json to")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    parser.add_argument("--only", action="append", default=[], help="cut this photograph, and others so named, alone")
    typed = parser.parse_args(arguments)
    try:
        made = make_demo_photos(typed.out, only=typed.only)
    except (LookalikeError, OSError) as error:
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
