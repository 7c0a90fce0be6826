"""The report of duplicates: one file, bounded, safe whatever images are called, with what proves each verdict."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from coordinator.display.pages import report
from coordinator.display.pages.report import Thumbnail, shown_ids, write_report
from coordinator.jobs.runs.duplicates.found import Beside, Found, Group, Member
from shared.messages.verdicts import SAME_BYTES, SAME_PICTURE, Evidence

EVIDENCE = Evidence(
    inliers=132,
    aligned=0.8,
    matrix=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    query_quad=((100.0, 50.0), (900.0, 50.0), (900.0, 700.0), (100.0, 700.0)),
    hit_quad=((0.0, 0.0), (800.0, 0.0), (800.0, 650.0), (0.0, 650.0)),
    query_overlap=0.4,
    hit_overlap=0.9,
    turned=90.0,
    mirrored=True,
)


def found(groups: int = 1, images: int = 3, name: str = "a.jpg") -> Found:
    made = [
        Group(
            [
                Member(start, f"/photos/{name}", 4_000, 3_000, 2_000_000),
                Member(start + 1, "/photos/b.jpg", 2_000, 1_500, 9_000, SAME_PICTURE, 0.91, EVIDENCE),
                *(Member(start + more, "/photos/c.jpg", 10, 10, 9, SAME_BYTES) for more in range(2, images)),
            ],
            "most pixels",
            [Beside(start + 90, "/photos/z.jpg", start + 1)],
        )
        for start in range(0, groups * 100, 100)
    ]
    return Found("/jobs/photos", "picture", 0.5, 1_234, made, ["5 images could not be embedded."])


class Page(HTMLParser):
    """The tags of a page, each with its attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def written(tmp_path: Path, what: Found, without: set[int] = frozenset()) -> Page:  # type: ignore[assignment]
    path = tmp_path / "report.html"
    path.unlink(missing_ok=True)
    thumbnails = {one: Thumbnail("QUJD", 240, 180) for one in shown_ids(what) if one not in without}
    write_report(path, what, thumbnails)
    return Page(path)


def test_each_image_is_there_with_its_verdict_and_evidence_and_nothing_is_loaded(tmp_path: Path) -> None:
    page = written(tmp_path, found())
    assert [image["src"] for image in page.of("img")] == ["data:image/jpeg;base64,QUJD"] * 3
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    for said in (
        "most pixels", "cropped (90 %)", "turned 90°, mirrored, 132 matching points",
        "shows more than the one to keep", "same bytes", "id 1 · 2,000 x 1,500",
        "5 images could not be embedded.", "Nothing was deleted", "/photos/z.jpg", "1,234",
    ):  # fmt: skip
        assert said in page.text, said


def test_the_part_that_is_shared_is_drawn_in_the_place_that_it_has_in_the_thumbnail(tmp_path: Path) -> None:
    (drawn,) = written(tmp_path, found()).of("polygon")
    points = [float(value) for point in (drawn["points"] or "").split() for value in point.split(",")]
    assert points == pytest.approx([value * 240 / 2_000 for point in EVIDENCE.query_quad for value in point], abs=0.05)


def test_names_can_not_break_the_page(tmp_path: Path) -> None:
    page = written(tmp_path, found(name="<script>alert('x')'\".jpg"))
    assert not page.of("script")
    assert "<script>alert('x')'\".jpg" in page.text
    assert "\x1b" not in written(tmp_path, found(name="\x1b[31m.jpg")).text


def test_a_large_answer_is_cut_and_that_is_said(tmp_path: Path) -> None:
    what = found(report.MOST_GROUPS + 40, report.MOST_IMAGES + 5)
    page = written(tmp_path, what)
    assert len(page.of("img")) == report.MOST_GROUPS * report.MOST_IMAGES == len(shown_ids(what))
    assert f"This page shows the largest {report.MOST_GROUPS} groups; 40 more" in page.text
    assert f"{report.MOST_GROUPS * 5:,} more are in the JSON" in page.text
    assert "and 5 more" in page.text


def test_an_image_that_can_not_be_read_has_its_path_in_its_place(tmp_path: Path) -> None:
    page = written(tmp_path, found(), without={1})
    assert len(page.of("img")) == 2
    assert "no thumbnail" in page.text
    assert "1 of the images on it could not be read" in page.text


def test_no_group_makes_a_page_that_says_so(tmp_path: Path) -> None:
    assert "No two images show the same." in written(tmp_path, found(0)).text
