"""Take the pictures of the page that docs/page.md shows: `python docs/page_pictures.py PHOTOS`.

PHOTOS is a folder of a few dozen photographs, which are copied, indexed and served from a temporary folder. It needs
Debian's chromium. Look at each picture before you commit it. Those of today are of
photographs of clothes under CC0 1.0.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Page  # noqa: E402

from tests.support.browser import browser  # noqa: E402

LOOKALIKE = [sys.executable, "-m", "lookalike"]
PICTURES = ROOT / "docs" / "pictures"
MOST = 60
WIDE, TALL = (1200, 800), (390, 844)


def main() -> None:
    """Make the job, serve it, and take the pictures."""
    photos = sorted(path for path in Path(sys.argv[1]).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:MOST]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        query = _made(folder / "photos", photos)
        job = folder / "clothes"
        for command in (["index", folder / "photos", job], ["duplicates", job]):
            subprocess.run([*LOOKALIKE, *map(str, command)], check=True, stdout=subprocess.DEVNULL)
        with subprocess.Popen(
            [*LOOKALIKE, "serve", str(job), "--port", "0"], stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                _take(server.stdout.readline().split()[0], query)
            finally:
                server.terminate()


def _made(folder: Path, photos: list[Path]) -> Path:
    """Copies of the photographs under short names, some altered ones beside them, and a query that is none of them."""
    folder.mkdir()
    for number, photo in enumerate(photos):
        shutil.copy(photo, folder / f"photo-{number:02}.jpg")
    image = _read(folder / "photo-09.jpg")
    cv2.imwrite(str(folder / "small-09.jpg"), cv2.resize(image, None, fx=0.6, fy=0.6), [cv2.IMWRITE_JPEG_QUALITY, 70])
    cv2.imwrite(str(folder / "part-12.jpg"), _read(folder / "photo-12.jpg")[60:, 40:-10])
    cv2.imwrite(str(folder / "grey-15.jpg"), cv2.cvtColor(_read(folder / "photo-15.jpg"), cv2.COLOR_BGR2GRAY))
    shutil.copy(folder / "photo-20.jpg", folder / "twin-20.jpg")
    (folder / "broken.jpg").write_bytes((folder / "photo-03.jpg").read_bytes()[:3000])
    (folder / "empty.jpg").touch()
    image = _read(folder / "photo-07.jpg")
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
            _shown(page, "table.failed")
            _picture(page, f"page-job-{scheme}")
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


def _picture(page: Page, name: str) -> None:
    """A JPEG of what is in the window, as a photograph in a PNG would take ten times the bytes."""
    page.screenshot(path=PICTURES / f"{name}.jpg", type="jpeg", quality=80)


if __name__ == "__main__":
    main()
