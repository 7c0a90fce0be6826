"""Show an evaluation as a table: what was measured on a job, beside what the article claims."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from shared.job.index.calibration import PUBLISHED
from shared.text import duration, size

_NOT_KNOWN = "not recorded"
# The claims of the article that the project grew from; it states them for 2,000,000 images and names no machine.
_CLAIMED = {"images": "2,000,000", "build": "82 min", "latency": "18 ms", "accuracy": "97.8 %"}


def evaluation_view(evaluation: Mapping[str, Any]) -> RenderableType:
    """What `lookalike evaluate` prints: the table, where its figures come from, and the sweep."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("")
    table.add_column("this job")
    table.add_column("the article", style="dim")
    for name, value, claimed in evaluation_rows(evaluation):
        table.add_row(Text(name), Text(value), claimed)
    machine = evaluation["machine"]
    notes = Text(
        f"Measured here: {machine['cores']} cores, {size(machine['memory_bytes'])} of memory, one query at a time, its "
        "rows in memory;\nrecall on stored images drawn anew, each left out of its own answers.\n"
        "The article's figures are its claims, for another number of images on other hardware: they are here to be\n"
        "compared with, not measured.",
        style="dim",
    )
    return Group(Text(evaluation["job"], style="bold"), "", table, "", notes, "", *_sweep(evaluation))


def evaluation_rows(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The rows of the table: what, its value here, and what the article claims, "" where it claims nothing."""
    images, build = evaluation["images"], evaluation["build"]
    failed = f", {images['failed']:,} failed" if images["failed"] else ""
    removed = f", {images['removed']:,} removed" if images["removed"] else ""
    yield "images", f"{images['embedded']:,} embedded{failed}{removed}", _CLAIMED["images"]
    yield "model", evaluation["model"], ""
    yield "  dimensions", f"{evaluation['dim']:,}", ""
    seconds = evaluation["embedding"]["seconds"]
    how = (
        "imported"
        if seconds is None
        else f"embedded in {duration(seconds)}, {images['listed'] / seconds:,.0f}/s"
        if seconds
        else _NOT_KNOWN
    )
    yield "embeddings", f"{size(evaluation['embedding']['bytes'])}; {how}", ""
    what = build["type"] if build["type"] == build["factory"] else f"{build['type']} ({build['factory']})"
    yield "index", what, ""
    yield "  searched", _width(build), ""
    yield "  built in", f"{_seconds(sum(build['seconds'].values()))}", _CLAIMED["build"]
    for phase, spent in build["seconds"].items():
        yield f"    {phase}", _seconds(spent), ""
    peak = build["peak_rss_bytes"]
    yield "  peak memory", _NOT_KNOWN if peak is None else size(peak), ""
    yield "  files", size(build["index_bytes"]), ""
    memory = evaluation["query_memory_bytes"]
    yield "memory of a search", _NOT_KNOWN if memory is None else f"{size(memory)} without the system's cache", ""
    wished = build["recall_wished"]
    recall = evaluation["recall_at_10"]
    yield (
        "recall@10",
        "no image has a neighbour"
        if recall is None
        else f"{recall:.4f} of {evaluation['queries']:,} queries" + (f"; asked for {wished:g}" if wished else ""),
        "",
    )
    yield "latency p50 / p99", f"{evaluation['p50_ms']:.2f} / {evaluation['p99_ms']:.2f} ms", _CLAIMED["latency"]
    yield f"queries/s, {evaluation['batch']} at once", f"{evaluation['queries_per_second']:,.0f}", ""
    yield from _accuracy_rows(evaluation["accuracy"])
    yield from _verdict_rows(evaluation["verdicts"])
    yield from _chance_rows(evaluation["chances"])


def _accuracy_rows(accuracy: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if not accuracy["copies"]:
        yield "accuracy@10", f"not measured: {accuracy['reason']}", _CLAIMED["accuracy"]
        return
    yield "accuracy@10", f"{share(accuracy['at_10'])} of {accuracy['copies']:,} altered copies", _CLAIMED["accuracy"]
    yield "  by exact search", share(accuracy["exact_at_10"]), ""
    for row in accuracy["by_alteration"]:
        exact = "" if row["at_10"] == row["exact_at_10"] else f"; {share(row['exact_at_10'])} by exact search"
        yield f"  {row['alteration']}", f"{share(row['at_10'])} of {row['copies']}{exact}", ""
    alike = accuracy["alike"]
    if alike is not None:
        yield f"  cosine from {alike['similarity']:g}", f"{share(alike['at_10'])} of {alike['copies']}", ""


def _verdict_rows(verdicts: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if not verdicts["copies"]:
        yield "verdicts", f"not measured: {verdicts['reason']}", ""
        return
    yield "verdicts", f"{verdicts['proven']:,} of {verdicts['copies']:,} altered copies proven", ""
    false = f"{verdicts['false']:,} of {verdicts['copies']:,} copies, each compared with the nearest others"
    yield "  falsely another", f"{false}: {verdicts['strangers']:,} pairs", ""
    if verdicts["unclear"]:
        yield "  left out", f"{verdicts['unclear']:,} others that show a part of an original", ""
    for row in verdicts["by_alteration"]:
        proven = row["same_bytes"] + row["same_pixels"] + row["same_picture"]
        kinds = [("bytes", row["same_bytes"]), ("pixels", row["same_pixels"]), ("picture", row["same_picture"])]
        told = ", ".join(f"{count} same {kind}" for kind, count in kinds if count)
        false = row["false_pixels"] + row["false_picture"]
        yield f"  {row['alteration']}", f"{proven} of {row['copies']}; {told or 'none proven'}; {false} falsely", ""


def _chance_rows(chances: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if not chances["measured"]:
        yield "chances", f"not measured: {chances['reason']}", ""
        return
    if chances["measured"] == PUBLISHED:
        yield "chances", f"as measured on other photographs: {chances['reason']}", ""
    else:
        yield "chances", f"measured on {chances['copies']:,} altered copies of {chances['originals']:,} images", ""
    absent, there = share(chances["nothing_absent"]), share(chances["nothing_there"])
    yield "  nothing above", f"{absent} of queries whose picture is absent, {there} of the others", ""


def _width(build: Mapping[str, Any]) -> str:
    most = "at most " if build["list_margin"] else ""
    lists = f"nprobe {build['nprobe']:,}" if build["nprobe"] else "all"
    return f"{most}{lists}, {build['rerank_depth']:,} compared exactly"


def _sweep(evaluation: Mapping[str, Any]) -> list[RenderableType]:
    table = Table(
        title="Other widths of the search", title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    for heading in ("nprobe", "depth", "recall@10", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for point in evaluation["sweep"]:
        recall = point["recall_at_10"]
        table.add_row(
            f"{point['nprobe']:,}" if point["nprobe"] else "all",
            f"{point['depth']:,}",
            "–" if recall is None else f"{recall:.4f}",
            f"{point['p50_ms']:.2f}",
            f"{point['p99_ms']:.2f}",
            "serves" if point["promoted"] else "",
            style="bold" if point["promoted"] else "",
        )
    return [table]


def share(value: float) -> str:
    """A share as a percentage, whole where it is exact: 100 %, 97.9 %."""
    return f"{value:.1%}".replace(".0%", "%").replace("%", " %")


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)
