import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coordinator.display.pages.contact_sheet import Part, SheetHit, SheetRow, write_contact_sheet
from shared.errors import UsageError

NASTY = 'a"<b>&.jpg'


class Page(HTMLParser):
    """What a browser makes of the page: its elements with their classes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in: list[str] = []
        self.inside: dict[str, list[dict[str, str | None]]] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.tags.append((tag, held))
        if tag == "li":
            self._in = [held.get("class") or ""]
        if tag == "img":
            self.inside.setdefault(self._in[0] if self._in else "query", []).append(held)

    def handle_endtag(self, tag: str) -> None:
        if tag == "li":
            self._in = []

    def handle_data(self, data: str) -> None:
        self.text += data

    def addresses(self) -> list[str]:
        return [value or "" for _, held in self.tags for name, value in held.items() if name in ("src", "href")]


def reached(page: Path, address: str) -> Path:
    """The file that a browser opens for `address` on the page."""
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    return Path(os.path.normpath(page.parent / os.fsdecode(unquote_to_bytes(parts.path))))


def row(folder: Path, original: int | None = 1, hits: int = 3, label: str = "crop 20 %") -> SheetRow:
    return SheetRow(
        query=folder / "queries/crop-20/coffee.jpg",
        label=label,
        hits=tuple(
            SheetHit(folder / f"photos/coffee/{rank}.jpg", 1 - rank / 16, rank, rank == original)
            for rank in range(1, hits + 1)
        ),
    )


def written(path: Path, *rows: SheetRow, title: str = "A demo", summary: tuple[tuple[str, str], ...] = ()) -> Page:
    assert write_contact_sheet(path, title, rows, summary) == path
    return Page(path.read_text(encoding="utf-8"))


def test_every_image_is_reached_from_the_pages_folder(tmp_path: Path) -> None:
    sheet = tmp_path / "report of today" / "sheet.html"
    page = written(sheet, row(tmp_path))
    found = {reached(sheet, address) for address in page.addresses()}
    assert found == {
        tmp_path / "queries/crop-20/coffee.jpg",
        *(tmp_path / f"photos/coffee/{n}.jpg" for n in (1, 2, 3)),
    }
    assert str(tmp_path) not in sheet.read_text()


@given(
    name=st.text(
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]) | st.sampled_from("\"'<>&%#?:; "), min_size=1
    ).filter(lambda name: name not in (".", ".."))
)
@example(NASTY)
@example("a:b.jpg")
@example("100%25.jpg")
@example("b#1?.jpg")
@example("naïve fish 鱼.jpg")
def test_a_file_of_any_name_is_reached_and_shown_without_breaking_the_page(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "names"
    sheet = folder / "sheet.html"
    page = written(sheet, SheetRow(folder / name, "grey", (SheetHit(folder / name, 0.5, 1, True),)))
    assert {reached(sheet, address) for address in page.addresses()} == {folder / name}
    plain = Page((folder / "sheet.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in plain.tags].count("b") == 1  # the rank; a "<b>" in a name makes no element
    [hit] = page.inside["original"]
    # A browser reads a carriage return as a new line.
    assert name.replace("\r\n", "\n").replace("\r", "\n") in (hit["alt"] or "")


def test_a_file_whose_name_is_no_text_is_reached(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    page = written(tmp_path / "sheet.html", SheetRow(odd, "grey", ()))
    assert {reached(tmp_path / "sheet.html", address) for address in page.addresses()} == {odd}
    assert "caf\N{REPLACEMENT CHARACTER}.jpg" in page.text


def test_names_labels_title_and_figures_are_escaped(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    hit = SheetHit(tmp_path / NASTY, 0.25, 1, False)
    rows = SheetRow(tmp_path / NASTY, "<i>label</i>", (hit,))
    page = written(sheet, rows, title="<script>alert(1)</script> & {curly}", summary=(("<u>a</u>", "1 & 2"),))
    names = [tag for tag, _ in page.tags]
    assert not {"script", "i", "u", "link"} & set(names)
    assert "{curly}" in page.text
    assert "1 & 2" in page.text
    assert NASTY in page.text
    assert 'a"<b>' not in sheet.read_text()


@pytest.mark.parametrize("place", [1, 3])
def test_the_original_alone_is_outlined_and_named(tmp_path: Path, place: int) -> None:
    page = written(tmp_path / "sheet.html", row(tmp_path, original=place))
    [outlined] = page.inside["original"]
    assert outlined["src"] == f"photos/coffee/{place}.jpg"
    assert (outlined["alt"] or "").endswith("the original")
    assert len(page.inside[""]) == 2
    assert not any("original" in (other["alt"] or "") for other in page.inside[""])
    assert ".original a { outline" in page.text  # the style that the class stands for


@pytest.mark.parametrize(
    ("original", "verdict"),
    [(1, "original found first"), (3, "original found at rank 3"), (None, "original not among 3 hits")],
)
def test_a_row_says_where_the_original_was_found(tmp_path: Path, original: int | None, verdict: str) -> None:
    page = written(tmp_path / "sheet.html", row(tmp_path, original=original))
    assert verdict in page.text
    assert ("original" in page.inside) == (original is not None)


def test_a_hit_shows_its_rank_similarity_and_file_name_in_the_given_order(tmp_path: Path) -> None:
    page = written(tmp_path / "sheet.html", row(tmp_path, original=None))
    assert [image["alt"] for image in page.inside[""]] == [
        "Hit 1, similarity 0.938: 1.jpg",
        "Hit 2, similarity 0.875: 2.jpg",
        "Hit 3, similarity 0.812: 3.jpg",
    ]
    assert "20.8752.jpg" in page.text.replace(" ", "")


def test_a_hit_says_what_is_known_of_it_and_outlines_the_part_that_both_show(tmp_path: Path) -> None:
    corners = ((1.0, 2.0), (30.0, 2.0), (30.0, 40.0), (1.0, 40.0))
    proven = SheetHit(
        tmp_path / "a.jpg",
        0.7,
        1,
        True,
        "same picture, cropped (41 %)",
        "7 matching points",
        Part(corners, 60, 80),
        True,
    )
    near, far = SheetHit(tmp_path / "b.jpg", 0.6, 2, False, "similar"), SheetHit(tmp_path / "c.jpg", 0.5, 3, False)
    row = SheetRow(tmp_path / "q.jpg", "crop", (proven, near, far), "not there: <none>", "missed")
    page = written(tmp_path / "sheet.html", row)
    assert [held["points"] for tag, held in page.tags if tag == "polygon"] == ["1.0,2.0 30.0,2.0 30.0,40.0 1.0,40.0"]
    assert [held["viewbox"] for tag, held in page.tags if tag == "svg"] == ["0 0 60 80"]
    classes = [held.get("class") for tag, held in page.tags if tag == "span"]
    assert [name for name in classes if name and name.startswith("verdict")] == ["verdict proven", "verdict"]
    assert "answer missed" in classes
    assert "not there: <none>" in page.text
    assert "same picture, cropped (41\N{NO-BREAK SPACE}%)7 matching points" in page.text
    assert (page.inside["original"][0]["alt"] or "").endswith("the original; same picture, cropped (41 %)")


def test_every_image_has_an_alternative_text(tmp_path: Path) -> None:
    page = written(tmp_path / "sheet.html", row(tmp_path), row(tmp_path, None))
    images = [held for tag, held in page.tags if tag == "img"]
    assert len(images) == 8
    assert all(image["alt"] for image in images)
    assert [image["alt"] for image in page.inside["query"]] == ["Query, crop 20 %: coffee.jpg"] * 2


def test_rows_and_figures_keep_their_order(tmp_path: Path) -> None:
    rows = [row(tmp_path, label=label) for label in ("grey", "flip", "text")]
    page = written(tmp_path / "sheet.html", *rows, summary=(("photos", "930"), ("queries", "320")))
    places = [page.text.index(word) for word in ("930", "320", "\ngrey", "\nflip", "\ntext")]
    assert places == sorted(places)


def test_the_page_needs_nothing_but_the_images(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    page = written(sheet, *[row(tmp_path, hits=10)] * 40)
    html = sheet.read_text()
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object"}
    assert "url(" not in html
    assert "@import" not in html
    assert "//" not in html
    assert "prefers-color-scheme: dark" in html
    assert sheet.stat().st_size < 250_000


def test_a_query_without_hits_says_so(tmp_path: Path) -> None:
    page = written(tmp_path / "sheet.html", row(tmp_path, hits=0))
    assert "No hits." in page.text


def test_a_sheet_without_a_query_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one"):
        write_contact_sheet(tmp_path / "sheet.html", "Nothing", [], [])
    assert not (tmp_path / "sheet.html").exists()
