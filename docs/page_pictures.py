"""Take the pictures of the page that docs/page.md shows: `python docs/page_pictures.py PHOTOS [--dir DIR]`.

PHOTOS is a folder of a few hundred photographs, which are copied, indexed, evaluated and served from DIR. The page
shows paths, so name a short one; it must not be there, and is removed at the end. Left out it is a temporary one. It
needs Debian's chromium. Look at each picture before you commit it. Those of today are of photographs of clothes under
CC0 1.0.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Page  # noqa: E402

from tests.support.browser import browser  # noqa: E402

LOOKALIKE = [sys.executable, "-m", "lookalike"]
PICTURES = ROOT / "docs" / "pictures"
MOST = 600
WIDE, TALL = (1200, 800), (390, 844)


def main() -> None:
    """Make the job, serve it, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--dir", type=Path)
    options = parser.parse_args()
    photos = sorted(path for path in options.photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:MOST]
    with _folder(options.dir) as folder:
        query = _made(folder / "photos", photos)
        job = folder / "clothes"
        # So few images would get a flat index, which has no widths to draw.
        for command in (["index", folder / "photos", job, "--index", "ivf-pq"], ["duplicates", job], ["evaluate", job]):
            subprocess.run([*LOOKALIKE, *map(str, command)], check=True, stdout=subprocess.DEVNULL)
        with subprocess.Popen(
            [*LOOKALIKE, "serve", str(job), "--port", "0"], stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                _take(server.stdout.readline().split()[0], query)
            finally:
                server.terminate()


@contextmanager
def _folder(asked: Path | None) -> Iterator[Path]:
    """A new folder for as long as it is needed."""
    if asked is None:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    asked.mkdir()
    try:
        yield asked.resolve()
    finally:
        shutil.rmtree(asked)


def _made(folder: Path, photos: list[Path]) -> Path:
    """Copies of the photographs under short names, some altered ones beside them, and a query that is none of them."""
    folder.mkdir()
    for number, photo in enumerate(photos):
        shutil.copy(photo, folder / f"photo-{number:03}.jpg")
    image = _read(folder / "photo-009.jpg")
    cv2.imwrite(str(folder / "small-009.jpg"), cv2.resize(image, None, fx=0.6, fy=0.6), [cv2.IMWRITE_JPEG_QUALITY, 70])
    cv2.imwrite(str(folder / "part-012.jpg"), _read(folder / "photo-012.jpg")[60:, 40:-10])
    cv2.imwrite(
        str(folder / "grey-015.jpg"),
        cv2.cvtColor(_read(folder / "photo-015.jpg"), cv2.COLOR_BGR2GRAY),
        [cv2.IMWRITE_JPEG_QUALITY, 70],
    )
    shutil.copy(folder / "photo-020.jpg", folder / "twin-020.jpg")
    (folder / "broken.jpg").write_bytes((folder / "photo-003.jpg").read_bytes()[:3000])
    (folder / "empty.jpg").touch()
    image = _read(folder / "photo-007.jpg")
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 6, 1)
    part = cv2.warpAffine(image, turn, (width, height))[
        int(height * 0.15) : int(height * 0.85), int(width * 0.1) : int(width * 0.9)
    ]
    cv2.imwrite(str(folder.parent / "query.jpg"), part)
    return folder.parent / "query.jpg"


def _read(path: Path) -> Any:
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"OpenCV can't decode {path}: name a folder of JPEGs.")
    return image


def _take(place: str, query: Path) -> None:
    with browser() as started:
        page = started.new_page()  # The first search of a worker loads the model: pictures are of what follows.
        for first in (f"{place}/#/clothes/search?like=7&k=12&verify=always", place):
            page.goto(first)
            if first == place:
                page.locator("summary").click()
                page.locator("#verify").select_option("always")
                page.set_input_files("#file", query)
            _shown(page, ".found .badge")
        page.close()
        for scheme in ("light", "dark"):
            page = started.new_page(
                viewport={"width": WIDE[0], "height": WIDE[1]}, color_scheme=scheme, reduced_motion="reduce"
            )
            page.goto(place)
            page.set_input_files("#file", query)
            page.locator("#verify").select_option("always")
            _shown(page, ".found .badge")
            _picture(page, f"page-search-{scheme}")
            page.locator(".tile a").first.click()
            _shown(page, ".compare table")
            _picture(page, f"page-compare-{scheme}")
            page.goto(f"{place}/#/clothes/duplicates")
            _shown(page, ".members")
            _picture(page, f"page-duplicates-{scheme}")
            page.goto(f"{place}/#/clothes/job")
            _shown(page, ".sweep")
            _shown(page, "table.failed")
            _picture(page, f"page-job-{scheme}", whole=True)
            if scheme == "light":
                page.set_viewport_size({"width": TALL[0], "height": TALL[1]})
                page.goto(f"{place}/#/clothes/search?like=7&k=12&verify=always")
                _shown(page, ".found .badge")
                _picture(page, "page-phone")
            page.close()


def _shown(page: Page, selector: str) -> None:
    page.locator(selector).first.wait_for()
    page.evaluate(
        """() => Promise.all([...document.images]
            .filter((one) => one.getBoundingClientRect().top < innerHeight && one.src).map((one) => one.decode()))"""
    )


def _picture(page: Page, name: str, *, whole: bool = False) -> None:
    """A JPEG of what is in the window, or of the whole page, as a PNG of photographs would take ten times the bytes."""
    page.screenshot(path=PICTURES / f"{name}.jpg", type="jpeg", quality=80, full_page=whole)


if __name__ == "__main__":
    main()
