"""Draw what the verdicts mean, with the evidence of real comparisons: `python docs/verdict_pictures.py`.

Writes docs/pictures/*.jpg from photographs inside scikit-image, all of them in the public domain. Each picture shows a
query, the hit, and the region that both share. What is proven comes from a comparison of two pictures, and the other
verdicts from searches of the demo's photos, which the script indexes: that takes a minute. It ends with an error when
one gives another verdict than its picture is about.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import lookalike
from shared.messages.verdicts import NOTHING, SAME_BYTES, SAME_PICTURE, SAME_PIXELS, SIMILAR, Evidence, Quad
from workers.evaluate.demo_photos import installed_photographs
from workers.images.encode import encode_jpeg
from workers.verify.features import QUERY_KEYPOINTS, as_stored, local_features
from workers.verify.pixels import same_pixels
from workers.verify.same_picture import verify

Picture = NDArray[np.uint8]
FOLDER = Path(__file__).parent / "pictures"
NOT_PROVED = "not proved to be one picture"
_HEIGHT, _BAR, _GAP = 300, 34, 12
_COLOUR = (255, 0, 140)
_QUALITY = 82


def main() -> None:
    """Write every picture; SystemExit where a comparison gives another verdict than its picture shows."""
    photos = {path.stem: _read(path) for path in installed_photographs()[0]}
    FOLDER.mkdir(exist_ok=True)
    for name, (expected, make) in PICTURES.items():
        query, hit = make(photos)
        query = _written_again(query)
        verdict, evidence = compared(query, hit)
        if verdict != expected:
            raise SystemExit(f"{name}.jpg is to show {expected!r}, and the comparison says {verdict!r}: {evidence}.")
        _write(name, query, hit, verdict if evidence is None else f"{verdict}: {evidence.description}", evidence)
    with tempfile.TemporaryDirectory(prefix="lookalike-pictures-") as folder:
        for name, query, hit, said in _searched(Path(folder)):
            _write(name, query, hit, said)


def _write(name: str, query: Picture, hit: Picture, said: str, evidence: Evidence | None = None) -> None:
    (FOLDER / f"{name}.jpg").write_bytes(encode_jpeg(drawn(query, hit, said, evidence), _QUALITY))


def _searched(folder: Path) -> Iterator[tuple[str, Picture, Picture, str]]:
    """The name of a picture, its query and first hit, and what was said of that, among the demo's photos."""
    lookalike.demo_photos(folder / "demo")
    photos = folder / "demo" / "photos"
    files = {path.stem: path for path in (*photos.rglob("*.jpg"), Path(skimage.data.__file__).with_name("cell.png"))}
    files["letter"] = folder / "letter.jpg"
    files["letter"].write_bytes(encode_jpeg(_letter(), _QUALITY))
    with lookalike.index(photos, folder / "job") as job:
        for name, (expected, query) in SEARCHES.items():
            hit = job.search(files[query], 1, verify="always")[0]
            if hit.verdict != expected:
                raise SystemExit(f"{name}.jpg is to show {expected!r}, and the search says {hit.verdict!r}.")
            said = f"{hit.verdict} ({hit.chance:.0%})" if hit.verdict == SIMILAR and hit.chance else expected
            yield name, _read(files[query]), _read(Path(hit.image_path)), f"{said}: cosine {hit.similarity:.2f}"


def compared(query: Picture, hit: Picture) -> tuple[str, Evidence | None]:
    """The verdict that proof gives to two images (RGB uint8 [h, w, 3]), and its evidence."""
    if (evidence := same_pixels(query, hit)) is not None:
        return SAME_PIXELS, evidence
    evidence = verify(local_features(query, QUERY_KEYPOINTS), as_stored(local_features(hit)))
    return (NOT_PROVED if evidence is None else SAME_PICTURE), evidence


def drawn(query: Picture, hit: Picture, said: str, evidence: Evidence | None) -> Picture:
    """Query and hit side by side with the region that they share, below a line with what was said."""
    left = _panel(query, evidence.query_quad if evidence else None)
    right = _panel(hit, evidence.hit_quad if evidence else None)
    gap = np.full((_HEIGHT, _GAP, 3), 255, np.uint8)
    row = np.hstack([left, gap, right])
    picture = Image.fromarray(np.vstack([np.full((_BAR, row.shape[1], 3), 255, np.uint8), row]))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    pen.text((4, 7), said, (0, 0, 0), font)
    for place, text in ((0, "query"), (left.shape[1] + _GAP, "hit")):
        pen.rectangle((place, _BAR, place + 46, _BAR + 20), (0, 0, 0))
        pen.text((place + 5, _BAR + 1), text, (255, 255, 255), font)
    return np.asarray(picture, np.uint8)


def _panel(image: Picture, quad: Quad | None) -> Picture:
    scale = _HEIGHT / image.shape[0]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    panel = np.asarray(cv2.resize(image, (round(image.shape[1] * scale), _HEIGHT), interpolation=how), np.uint8)
    if quad is None:
        return panel
    corners = np.clip(np.array(quad) * scale, 2, [panel.shape[1] - 3, _HEIGHT - 3]).round().astype(np.int32)
    outside = np.ones(panel.shape[:2], np.uint8)
    cv2.fillConvexPoly(outside, corners, 0)
    panel = np.where(outside[:, :, None] == 1, panel // 2 + 110, panel).astype(np.uint8)
    cv2.polylines(panel, [corners], True, _COLOUR, 3, cv2.LINE_AA)
    # The first corner is the same spot of both, so that a turn can be seen.
    cv2.circle(panel, (int(corners[0][0]), int(corners[0][1])), 8, _COLOUR, -1, cv2.LINE_AA)
    return panel


def _read(path: Path) -> Picture:
    return _rgb(path.read_bytes())


def _written_again(image: Picture) -> Picture:
    return _rgb(encode_jpeg(image, 60))


def _rgb(data: bytes) -> Picture:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise SystemExit("OpenCV can't decode a photograph of the demo's packages; install them again.")
    return np.ascontiguousarray(bgr[:, :, ::-1], np.uint8)


def _resized(image: Picture, width: int) -> Picture:
    height = round(image.shape[0] * width / image.shape[1])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _pasted(small: Picture, into: Picture, left: int, top: int) -> Picture:
    picture = into.copy()
    picture[top : top + small.shape[0], left : left + small.shape[1]] = small
    return picture


def _page(picture: Picture) -> Picture:
    page = Image.new("RGB", (900, 620), (250, 250, 250))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(17)
    pen.rectangle((0, 0, 900, 46), (40, 70, 120))
    pen.text((20, 12), "The Morning Paper     Home   World   Food   Travel", (255, 255, 255), font)
    for line in range(20):
        pen.text(
            (30, 70 + 27 * line),
            "A cup in the morning, they say, is half of the day."[: 34 + line % 3 * 3],
            (60, 60, 60),
            font,
        )
    small = _resized(picture, 380)
    return _pasted(small, np.asarray(page, np.uint8), 480, 120)


def _letter() -> Picture:
    sheet = Image.new("RGB", (480, 320), (236, 230, 214))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(21)
    lines = ("Dear Ada,", "the pictures have come, all of them,", "and none of those that I had asked for.", "Yours,")
    for place, line in enumerate(lines):
        pen.text((40, 50 + 56 * place), line, (40, 40, 90), font)
    return np.asarray(sheet, np.uint8)


def _turned_grey(image: Picture) -> Picture:
    grey = cv2.cvtColor(_resized(image, image.shape[1] // 2), cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(np.rot90(np.repeat(np.asarray(grey)[:, :, None], 3, axis=2), -1), np.uint8)


def _mirrored_crop(image: Picture) -> Picture:
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 12, 1)
    leaning = np.asarray(cv2.warpAffine(image, turn, (width, height)), np.uint8)
    return np.ascontiguousarray(leaning[height // 6 : height * 5 // 6, width // 5 : width * 4 // 5][:, ::-1])


def _overlaid(image: Picture, other: Picture) -> Picture:
    warm = np.clip(image * np.array([1.1, 0.9, 0.6]) + 15, 0, 255).astype(np.uint8)
    picture = Image.fromarray(_pasted(_resized(other, image.shape[1] // 3), warm, 10, 20))
    ImageDraw.Draw(picture).text(
        (30, image.shape[0] - 110),
        "READY FOR\nMONDAY",
        (255, 255, 255),
        ImageFont.load_default(44),
        stroke_width=3,
        stroke_fill=0,
    )
    return np.asarray(picture, np.uint8)


def _on_ground(ground: Picture, thing: Picture) -> Picture:
    ground = np.repeat(ground[:, :, None], 3, axis=2) if ground.ndim == 2 else ground
    small = cv2.resize(thing, (int(ground.shape[1] * 0.75), int(ground.shape[0] * 0.75)), interpolation=cv2.INTER_AREA)
    return _pasted(np.asarray(small, np.uint8), ground, ground.shape[1] // 8, ground.shape[0] // 8)


# What each shows: the verdict, and the query and the hit that it is given to.
PICTURES: dict[str, tuple[str, Callable[[dict[str, Picture]], tuple[Picture, Picture]]]] = {
    "same-pixels": (SAME_PIXELS, lambda photos: (_turned_grey(photos["rocket"]), photos["rocket"])),
    "same-picture-cropped": (SAME_PICTURE, lambda photos: (_mirrored_crop(photos["chelsea"]), photos["chelsea"])),
    "same-picture-in-a-page": (SAME_PICTURE, lambda photos: (_page(photos["coffee"]), photos["coffee"])),
    "same-picture-overlaid": (
        SAME_PICTURE,
        lambda photos: (_overlaid(photos["astronaut"], photos["coffee"]), photos["astronaut"]),
    ),
    "not-proved-one-wall": (
        NOT_PROVED,
        lambda photos: (
            _on_ground(photos["brick"], photos["chelsea"]),
            _on_ground(photos["brick"], photos["coffee"]),
        ),
    ),
}

# The verdict of the first hit, and what is searched for: one of the demo's photos, and two pictures that are none.
SEARCHES = {
    "same-bytes": (SAME_BYTES, "rocket-whole"),
    "similar": (SIMILAR, "cell"),
    "nothing-above-chance": (NOTHING, "letter"),
}

if __name__ == "__main__":
    main()
