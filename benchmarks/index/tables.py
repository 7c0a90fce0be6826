"""Make tables in Markdown from the results of an index benchmark, for the terminal and for docs/benchmarks.md."""

from collections.abc import Iterator, Sequence

from benchmarks.index.figures import Results, building_seconds, count_of
from benchmarks.index.targets import targets_table
from benchmarks.support.queries import COSINES
from benchmarks.support.tables import header_table, size, table


def all_tables(results: Results) -> dict[str, str]:
    """Every table by its name, in the order in which a person reads them."""
    check = results["features"]["check"]
    sizes = sorted(results["sizes"].values(), key=lambda found: (found["crowded"], found["rows"]))
    return {
        "index-run": header_table(results, [["dimensions", f"{results['dim']:,}"]]),
        "index-facts": facts_table(check),
        "index-check": check_table(check),
        "index-builds": builds_table(sizes),
        "index-searches": searches_table(sizes),
        "index-article": article_table(sizes),
        "index-targets": targets_table(results),
        "index-peers": peers_table(sizes),
    }


def facts_table(check: Results) -> str:
    """What real features are like, and what the made ones are."""
    rows = [
        [fact, *(" ".join(f"{number:g}" for number in values[whose]) for whose in ("real", "made"))]
        for fact, values in check["facts"].items()
    ]
    return table(["fact", "real", f"made, {check['rows']:,} x {check['dim']:,}"], rows, right=1)


def check_table(check: Results) -> str:
    """recall@10 of the same configurations on real features and on made ones."""
    rows = []
    for row in [*check["recall"], *check["recall_by_rows"]]:
        apart = row["made"] - row["real"]
        what = f"rerank of {row['rerank_depth']:,}" if row["rerank_depth"] else "bare"
        cells = [
            f"{row.get('rows', check['rows']):,}",
            f"`{row['factory']}`",
            str(row["nprobe"]),
            what,
            f"{row['real']:.3f}",
            f"{row['made']:.3f}",
        ]
        within = "yes" if abs(apart) <= check["within"] + 1e-9 else "no"
        rows.append([*cells, f"{apart:+.3f}", within])
    heads = ["features", "index", "nprobe", "compared exactly", "real", "made", "apart", f"within {check['within']:g}"]
    return table(heads, rows, right=4)


def builds_table(sizes: Sequence[Results]) -> str:
    """What each build took, by size: seconds of its phases, memory, bytes."""
    rows = []
    for found in sizes:
        for built in found["builds"]:
            phases = built["seconds"]
            rows.append(
                [
                    count_of(found),
                    name_of(built),
                    f"`{built['factory']}`",
                    *(f"{phases.get(phase, 0):.1f}" for phase in ("checking", "training", "adding", "measuring")),
                    f"{building_seconds(built):.1f}",
                    size(built["peak_rss_bytes"]),
                    size(built["index_bytes"]),
                ]
            )
    phases_said = ["check s", "train s", "add s", "measure s", "**train + add s**"]
    return table(["embeddings", "asked for", "index", *phases_said, "peak memory", "index file"], rows, right=3)


def searches_table(sizes: Sequence[Results]) -> str:
    """How each build answers, by size."""
    rows = []
    for found in sizes:
        for built in found["builds"]:
            searched = built["search"]
            rows.append(
                [
                    count_of(found),
                    name_of(built),
                    f"{built['nprobe']:,} / {built['rerank_depth']:,}",
                    f"{searched['recall_at_10']:.3f}",
                    *_accuracies(searched),
                    _latency(searched),
                    f"{searched['cold_p50_ms']:.1f}",
                    f"{searched['queries_per_second_at_64']:,}",
                    size(searched["own_memory_bytes"]),
                ]
            )
        exact = found["exact"]
        truth = found["truth"]
        rows.append(
            [
                count_of(found),
                "exact",
                "all",
                f"{truth['recall_at_10']:.3f}",
                *_accuracies(truth),
                f"{exact['p50_ms']:,.0f}",
                "",
                f"{truth['queries'] / truth['seconds']:,.0f} at {truth['queries']}",
                "",
            ]
        )
    asked = ["embeddings", "asked for", "nprobe / compared, at most"]
    told = ["p50 / p99 ms", "cold p50 ms", "queries/s at 64", "memory"]
    return table([*asked, "recall@10", *(f"c {cosine:g}" for cosine in COSINES), *told], rows, right=3)


def article_table(sizes: Sequence[Results]) -> str:
    """The article's parameters at the same sizes."""
    rows = []
    for found in sizes:
        if "article" not in found:
            continue
        article = found["article"]
        for searched in article["searched"]:
            depth = searched["rerank_depth"]
            rows.append(
                [
                    count_of(found),
                    f"`{article['factory']}`, nprobe {searched['nprobe']}",
                    f"exact rerank of {depth:,}" if depth else "bare",
                    f"{searched['recall_at_10']:.3f}",
                    *_accuracies(searched),
                    _latency(searched),
                    f"{sum(article['seconds'].values()):.1f}",
                    size(article["index_bytes"]),
                ]
            )
    heads = ["embeddings", "the article's", "", "recall@10", *(f"c {cosine:g}" for cosine in COSINES)]
    return table([*heads, "p50 / p99 ms", "train + add s", "index"], rows, right=3)


def peers_table(sizes: Sequence[Results]) -> str:
    """Others over the same vectors and queries, and how many times what ours takes they take."""
    rows = [row for found in sizes if "peers" in found for row in _beside(found)]
    heads = ["embeddings", "index", "setting", "recall@10", *(f"c {cosine:g}" for cosine in COSINES)]
    return table([*heads, "p50 / p99 ms", "times ours", "build s", "times ours", "memory", "on disk"], rows, right=3)


def _beside(found: Results) -> Iterator[list[str]]:
    ours = found["builds"][0]
    fastest = ours["search"]["warm_ms"]["p50"]
    quickest = building_seconds(ours)
    count = count_of(found)
    for built in found["builds"]:
        seconds = building_seconds(built)
        searched = built["search"]
        p50 = searched["warm_ms"]["p50"]
        setting = f"`{built['factory']}`, nprobe {built['nprobe']}, {built['rerank_depth']} compared exactly"
        said = [count, f"lookalike, {name_of(built)}", setting, f"{searched['recall_at_10']:.3f}"]
        took = [_latency(searched), f"{p50 / fastest:.1f}", f"{seconds:.1f}", f"{seconds / quickest:.1f}"]
        yield [*said, *_accuracies(searched), *took, size(searched["own_memory_bytes"]), size(built["index_bytes"])]
    for peer in found["peers"]:
        if "failed" in peer:
            yield [count, peer["peer"], peer["failed"], *[""] * (len(COSINES) + 7)]
            continue
        for searched in peer["searched"]:
            p50 = searched["warm_ms"]["p50"]
            seconds = peer["build_seconds"]
            said = [count, f"{peer['peer']} {peer['version']}", searched["setting"], f"{searched['recall_at_10']:.3f}"]
            took = [_latency(searched), f"{p50 / fastest:.1f}", f"{seconds:.1f}", f"{seconds / quickest:.1f}"]
            disk = size(peer["disk_bytes"]) if peer["disk_bytes"] else "none"
            yield [*said, *_accuracies(searched), *took, size(peer["memory_bytes"]), disk]


def name_of(built: Results) -> str:
    """The family and the recall that were asked for."""
    return f"{built['family']}, {built['recall_wanted']:g}"


def _accuracies(judged: Results) -> list[str]:
    return [f"{judged['accuracy_at_10'][f'{cosine:g}']:.2f}" for cosine in COSINES]


def _latency(searched: Results) -> str:
    return f"{searched['warm_ms']['p50']:.2f} / {searched['warm_ms']['p99']:.2f}"
