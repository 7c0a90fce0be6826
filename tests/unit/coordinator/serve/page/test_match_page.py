"""The match page as one file: whole by itself, whatever the names of images are."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from coordinator.serve.page.assets import assets
from coordinator.serve.page.match_page import match_page, modules, write_match_page

HOSTILE = "</script><script>alert(1)</script><!--.jpg"


class Scripts(HTMLParser):
    """The scripts of a page: their attributes and their text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "script":
            self.found.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script" and self.found:
            attributes, text = self.found[-1]
            self.found[-1] = (attributes, text + data)

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"/{tag}")


def search(name: str) -> dict[str, Any]:
    hit = {"rank": 1, "id": 3, "image_path": name, "similarity": 0.5}
    return {
        "query": {"name": name, "source": None, "why": "It is a vector.", "facts": {}},
        "result": {"hits": [hit], "milliseconds": 1.0},
        "pictures": {3: {"source": "data:image/jpeg;base64,AAAA", "original": None, "facts": {}}},
        "k": 1,
        "isFiltered": False,
    }


def test_the_page_holds_what_it_shows_and_no_name_ends_its_script(tmp_path: Path) -> None:
    write_match_page(tmp_path / "match.html", HOSTILE, [search(HOSTILE)])
    page = Scripts()
    page.feed((tmp_path / "match.html").read_text())
    assert [attributes.get("type") for attributes, _ in page.found] == ["importmap", "application/json", "module"]
    told = json.loads(page.found[1][1])
    assert told["job"] == HOSTILE
    assert told["searches"][0]["result"]["hits"][0]["image_path"] == HOSTILE


def test_it_brings_each_module_that_it_imports_and_loads_nothing_else() -> None:
    known = modules()
    assert "lookalike/parts/compare.js" in known
    for name, address in known.items():
        kind, _, encoded = address.partition(",")
        assert kind == "data:text/javascript;base64"
        text = base64.b64decode(encoded).decode()
        imported = re.findall(r'^import [^"]*?"([^"]+)"', text, re.MULTILINE)
        assert set(imported) <= set(known), name
        original = assets()[name.removeprefix("lookalike/")].data.decode()
        assert text.count("\n") == original.count("\n")
        assert "fetch(" not in text, name
    page = match_page("photos", [])
    assert not re.search(r'(src|href)="', page)
