"""docs/benchmarks.md: it quotes the results of every benchmark, and no figure beside its tables."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.embed import tables as embed
from benchmarks.end_to_end import tables as end_to_end
from benchmarks.fuzz import tables as fuzz
from benchmarks.growth import tables as growth
from benchmarks.index import tables as index
from benchmarks.parts import tables as parts
from benchmarks.query import removed
from benchmarks.query import tables as query
from benchmarks.query.http import page as in_browser
from benchmarks.query.http import tables as http
from benchmarks.support import tables
from benchmarks.truth import tables as truth
from benchmarks.truth.copies import tables as copies
from benchmarks.truth.duplicates import tables as duplicates
from benchmarks.truth.fusion import tables as fusion
from benchmarks.truth.several import tables as several
from tests.support.benchmark_tables import HEADER, PAGE, RESULTS

MADE = {
    "end_to_end": end_to_end.all_tables,
    "index": index.all_tables,
    "query": query.all_tables,
    "query_removed": removed.removed_tables,
    "http": http.all_tables,
    "page": in_browser.page_tables,
    "parts": parts.all_tables,
    "growth": growth.all_tables,
    "growth_shards": growth.shards_tables,
    "growth_merging": growth.merging_tables,
    "duplicates": duplicates.all_tables,
    "embed": embed.all_tables,
    "embed_gpu": embed.all_tables,
    "fuzz_index": fuzz.all_tables,
    "truth": truth.all_tables,
    "truth_descriptor": truth.all_tables,
    "copies": copies.all_tables,
    "several": several.all_tables,
    "fusion": fusion.all_tables,
}
QUOTED = [name for name in MADE if (RESULTS / f"{name}.json").is_file()]
"""Of which results are in the repository; the first are there from the beginning."""

_ALWAYS = (
    "end_to_end",
    "index",
    "query",
    "query_removed",
    "http",
    "page",
    "growth",
    "growth_shards",
    "growth_merging",
    "fuzz_index",
    "copies",
    "fusion",
    "several",
    "truth_descriptor",
)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


@pytest.mark.parametrize("name", QUOTED)
def test_the_page_quotes_the_figures_of_the_results(name: str) -> None:
    page, results = PAGE.read_text(), json.loads((RESULTS / f"{name}.json").read_text())
    assert tables.fill_in(page, MADE[name](results)) == page


@pytest.mark.parametrize(
    ("name", "nothing"), [("embed", {"device": "cpu"}), ("embed_gpu", {"device": "gpu"}), ("truth", {})]
)
def test_the_page_says_of_what_nobody_has_measured_that_it_is_not(name: str, nothing: dict[str, Any]) -> None:
    made = MADE[name](nothing)
    assert set(made.values()) == {embed.NOT_MEASURED}
    page = PAGE.read_text()
    assert (tables.fill_in(page, made) == page) == (name not in QUOTED)


@pytest.mark.parametrize("name", QUOTED)
def test_the_results_name_no_place_of_the_machine_that_made_them(name: str) -> None:
    results = json.loads((RESULTS / f"{name}.json").read_text())
    words = [word.strip("\"'`") for text in strings(results) for word in text.split()]
    assert not [word for word in words if os.path.isabs(word) or word.startswith("~")]


def test_every_block_of_the_page_belongs_to_a_benchmark() -> None:
    made = [
        *(MADE[name](json.loads((RESULTS / f"{name}.json").read_text())) for name in _ALWAYS),
        parts.all_tables(HEADER | {"dim": 8, "sizes": []}),
        duplicates.all_tables(HEADER | {"dim": 8, "sizes": []}),
        *(embed.all_tables({"device": device}) for device in ("cpu", "gpu")),
        truth.all_tables({}),
    ]
    assert set(tables.block_names(PAGE.read_text())) <= {name for one in made for name in one}


def test_the_page_quotes_no_measured_figure_outside_its_tables() -> None:
    prose = tables._BLOCK.sub("", PAGE.read_text())
    assert "<!--" not in prose
    words = prose.replace("(", " ").split()
    assert not [word for word in words if word[0].isdigit() and "." in word.rstrip(".")]
