"""The numbers line of the README: each of its figures is one of benchmarks/results/, rounded as it says it."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "benchmarks" / "results"

# "recall@10" and the "10" of a name are no figures.
_FIGURE = re.compile(r"(?<![\w@.])(?:\d[\d,]*(?:\.\d+)?|\.\d+)")


@pytest.fixture
def results() -> dict[str, Any]:
    return {
        name: json.loads((RESULTS / f"{name}.json").read_text()) for name in ("end_to_end", "embed", "index", "truth")
    }


def numbers_line() -> str:
    _, _, after = (ROOT / "README.md").read_text().partition("<!-- numbers -->\n")
    # Neither where a link leads nor what is code, such as `predict(128)`.
    return re.sub(r"(?<=\])\([^)]*\)|`[^`]*`", "", after.partition("\n\n")[0])


def share(value: float) -> str:
    """A recall as the README writes it: .990, and 1.000."""
    return f"{value:.3f}".removeprefix("0")


def verdicts(results: dict[str, Any]) -> list[str]:
    """Of altered copies by six views, of as many queries whose original is absent, and of pairs that look alike."""
    (rule,) = results["methods"]["cosine, 6 views, verified"]["rules"]
    wrong = rule["false"] + sum(one["false"] for one in results["pairs"].values())
    pairs = sum(one["pairs"] for one in results["pairs"].values())
    recognised = f"{100 * rule['recognised']:.1f}"
    return [f"{rule['queries']:,}", f"{len(rule['by_alteration'])}", recognised, f"{wrong}", f"{pairs:,}"]


def figures(results: dict[str, Any]) -> list[str]:
    """What the line has to say, in its order."""
    run, search = results["end_to_end"], results["end_to_end"]["search"]
    index = run["index"]
    embedding = results["embed"]["ends"]["efficientnet-lite0"]["ways"]["openvino f32"]["median"]
    required = search["required"]
    large = max(int(name) for name in results["index"]["sizes"] if name.isdigit())
    spread, crowded = (results["index"]["sizes"][f"{large}{kind}"] for kind in ("", " crowded"))
    ours, near = spread["builds"][0], crowded["builds"][0]
    bare = next(one for one in spread["article"]["searched"] if (one["nprobe"], one["rerank_depth"]) == (1, 0))
    return [
        f"{results['embed']['machine']['cores']}",
        f"{embedding['images_per_second']:.0f}",
        f"{embedding['times_article_images_per_second']:.1f}",
        f"{index['embedded']:,}",
        f"{1000 * required['rank_1'] // required['queries'] / 10:.1f}",
        f"{required['queries']:,}",
        f"{search['by_vector']['worker_ms']['p50']:.1f}",
        f"{search['by_vector']['round_trip_ms']['p50']:.1f}",
        share(index["index"]["recall_at_10"]),
        *verdicts(results["truth"]),
        f"{large:,}",
        f"{results['index']['dim']:,}",
        f"{results['index']['machine']['cores']}",
        f"{ours['seconds']['training'] + ours['seconds']['adding']:.0f}",
        f"{ours['peak_rss_bytes'] / 1e9:.2f}",
        f"{ours['search']['warm_ms']['p50']:.1f}",
        share(ours["search"]["recall_at_10"]),
        f"{near['search']['warm_ms']['p50']:.1f}",
        share(near["search"]["recall_at_10"]),
        f"{bare['warm_ms']['p50']:.1f}",
        share(bare["recall_at_10"]),
    ]


def test_the_numbers_line_says_the_figures_of_the_results(results: dict[str, Any]) -> None:
    assert _FIGURE.findall(numbers_line()) == figures(results)


def test_the_seventh_of_the_memory_is_one(results: dict[str, Any]) -> None:
    ways = results["embed"]["ends"]["efficientnet-lite0"]["ways"]
    ours, article = (ways[name]["median"]["peak_rss_bytes"] for name in ("openvino f32", "article"))
    assert "in a seventh of its memory" in " ".join(numbers_line().split())
    assert 1 / 7.5 < ours / article < 1 / 6.5


@pytest.mark.parametrize(
    "figure",
    [
        ("embed", "ends", "efficientnet-lite0", "ways", "openvino f32", "median", "images_per_second"),
        ("end_to_end", "search", "required", "rank_1"),
        ("end_to_end", "search", "by_vector", "round_trip_ms", "p50"),
        ("truth", "methods", "cosine, 6 views, verified", "rules", 0, "recognised"),
        ("index", "sizes", "2000000", "builds", 0, "search", "recall_at_10"),
        ("index", "sizes", "2000000", "builds", 0, "search", "warm_ms", "p50"),
        ("index", "sizes", "2000000 crowded", "builds", 0, "search", "warm_ms", "p50"),
        ("index", "sizes", "2000000", "article", "searched", 0, "recall_at_10"),
    ],
)
def test_another_figure_would_be_another_line(results: dict[str, Any], figure: tuple[str | int, ...]) -> None:
    other: Any = copy.deepcopy(results)
    *above, last = figure
    holder = other
    for key in above:
        holder = holder[key]
    holder[last] = holder[last] * 0.9
    assert figures(other) != figures(results)
