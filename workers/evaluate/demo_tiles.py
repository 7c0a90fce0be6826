"""The demo's photographs, which two packages carry, and their tiles: which are too flat or too like another to keep."""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from shared.errors import SourceError, UsageError
from workers.images.encode import Image

# Real photographs only: no drawing, no chart, and one picture of the stereo pair. page.png stays out because libpng
# complains about its colour profile on stderr. Distribution, package, folder inside it, files.
PHOTOGRAPHS = (
    (
        "scikit-image",
        "skimage",
        "data",
        "astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png "
        "hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png retina.jpg rocket.jpg text.png",
    ),
    ("scikit-learn", "sklearn", "datasets/images", "china.jpg flower.jpg"),
)

# Pictures that none of the photos shows any of, to be searched for in vain; drawings will do. Files of scikit-image.
NOT_THERE = ("cell.png", "clock_motion.png", "horse.png")

TILE_SIDES = (256, 128, 80)
WRITTEN_SIDE = 256
THUMBNAIL_SIDE = 16
FLAT_BELOW = 7.0
DUPLICATE_ABOVE = 0.95

Thumbnail: TypeAlias = npt.NDArray[np.float32]


def installed_photographs(only: Sequence[str] = ()) -> tuple[list[Path], tuple[str, ...]]:
    """The photographs inside the installed packages, and the names of those that they do not carry.

    The packages are located, never imported, and nothing is downloaded. `only` names some of them, as in "coffee", to
    have no others. Raises SourceError if a package is missing, UsageError if there is no photograph of such a name.
    """
    found, absent = [], []
    for distribution, package, folder, names in PHOTOGRAPHS:
        inside = _folder_of(distribution, package, folder)
        for name in names.split():
            path = inside / name
            if path.is_file():
                found.append(path)
            else:
                absent.append(f"{distribution}: {name}")
    known = [path.stem for path in found]
    if unknown := [name for name in only if name not in known]:
        raise UsageError(f"There is no photograph {unknown[0]!r}; expected one of {', '.join(known)}.")
    return [path for path in found if not only or path.stem in only], tuple(absent)


def pictures_not_there() -> list[Path]:
    """Pictures inside scikit-image of which no photo of the demo shows anything; raises SourceError without it."""
    return [path for path in (_folder_of(*PHOTOGRAPHS[0][:3]) / name for name in NOT_THERE) if path.is_file()]


def _folder_of(distribution: str, package: str, folder: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(
            f"The demo's photographs lie inside {distribution}, which is not installed; "
            "install the extra: pip install 'lookalike[demo]'."
        )
    return Path(spec.submodule_search_locations[0], folder)


def tiles(source: str, photograph: Image) -> Iterator[tuple[str, Image]]:
    """The tiles of a photograph, WRITTEN_SIDE px wide, each with a name that begins with `source`."""
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


def thumbnail_of(image: Image) -> Thumbnail:
    """16 x 16 grey values less the plane that fits them best: a sky that merely darkens upwards comes out as flat."""
    small = cv2.resize(image, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    ramp = np.arange(THUMBNAIL_SIDE, dtype=np.float32) - (THUMBNAIL_SIDE - 1) / 2
    # On a grid, the constant and the two ramps are orthogonal, so the fit is three means.
    across, down = (grey * ramp).mean() / (ramp**2).mean(), (grey.T * ramp).mean() / (ramp**2).mean()
    return np.asarray(grey - grey.mean() - across * ramp - down * ramp[:, None], dtype=np.float32)


def unit(thumbnail: Thumbnail) -> Thumbnail:
    """At unit length, so that a product of two is their correlation; one without any content becomes zeros."""
    return np.asarray(thumbnail.ravel() / max(float(np.linalg.norm(thumbnail)), 1e-6), dtype=np.float32)


def reason_against(thumbnail: Thumbnail, kept: Sequence[Thumbnail]) -> str:
    """Why a tile is left out beside those whose thumbnails, at unit length, were `kept`: flat or duplicate; else ""."""
    if float(thumbnail.std()) < FLAT_BELOW:
        return "flat"
    # The mirrored tile counts too, because "flip" is one of the alterations; it is compared in grey, because "grey" is
    # another.
    both = np.stack([unit(thumbnail), unit(thumbnail[:, ::-1])])
    return "duplicate" if kept and float((np.stack(kept) @ both.T).max()) > DUPLICATE_ABOVE else ""


def read_photograph(photograph: Path) -> Image:
    """The pixels of an image file, RGB uint8 [h, w, 3]; SourceError where there are none."""
    try:
        data = photograph.read_bytes()
    except OSError as error:
        raise SourceError(f"The photograph {photograph} can't be read: {error.strerror}; install it again.") from error
    return decoded(data, str(photograph))


def decoded(data: bytes, name: str) -> Image:
    """The pixels of the bytes of an image, RGB uint8 [h, w, 3]; SourceError, which calls it `name`, for others."""
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if bgr is None:
        raise SourceError(f"The photograph {name} holds no image that OpenCV can decode; install its package again.")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
