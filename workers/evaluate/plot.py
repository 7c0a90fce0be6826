"""Plot the sweep of an evaluation: recall against latency, with the width that serves marked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from shared.storage import files

_COLOURS = ("#7a9cc6", "#2f5d8a", "#122b45", "#8a6d2f")
_MARK = "#d1495b"


def draw_sweep(evaluation: Mapping[str, Any], path: Path) -> None:
    """Write a PNG of what `workers.evaluate.report.evaluate` measured; OSError when the disk does not take it."""
    figure = Figure(figsize=(9, 5.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    points = [point for point in evaluation["sweep"] if point["recall_at_10"] is not None]
    depths = sorted({point["depth"] for point in points})
    if all(point["nprobe"] == 0 for point in points):
        _line(axes, points, "all embeddings compared", _COLOURS[1], "depth")
    else:
        for depth, colour in zip(depths, _COLOURS, strict=False):
            curve = [point for point in points if point["depth"] == depth]
            _line(axes, curve, f"{depth:,} candidates compared exactly", colour, "nprobe")
    for point in points:
        if point["promoted"]:
            axes.plot(point["p50_ms"], point["recall_at_10"], "*", color=_MARK, markersize=18, zorder=5,
                      label="the width that serves", linestyle="none")  # fmt: skip
    _frame(axes, points, evaluation)
    with files.written_aside(path) as aside:
        figure.savefig(aside, format="png")


def _line(axes: Axes, points: Sequence[Mapping[str, Any]], label: str, colour: str, said: str) -> None:
    ordered = sorted(points, key=lambda point: point[said])
    latencies = [point["p50_ms"] for point in ordered]
    recalls = [point["recall_at_10"] for point in ordered]
    axes.plot(latencies, recalls, "o-", color=colour, label=label, markersize=5, linewidth=1.4)
    for point, latency, recall in zip(ordered, latencies, recalls, strict=True):
        axes.annotate(
            f"{point[said]:,}",
            (latency, recall),
            textcoords="offset points",
            xytext=(4, -11),
            fontsize=7.5,
            color=colour,
        )


def _frame(axes: Axes, points: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any]) -> None:
    build, machine = evaluation["build"], evaluation["machine"]
    cores = f"{machine['cores']} core{'s' if machine['cores'] > 1 else ''}"
    axes.set_title(
        f"{evaluation['images']['embedded']:,} images × {evaluation['dim']:,} dimensions · "
        f"{evaluation['model'].partition('@')[0]} · {build['type']} · {cores}",
        fontsize=11,
    )
    axes.set_xscale("log")
    axes.set_xlabel("latency of one query, rerank included, median (ms)")
    axes.set_ylabel("recall@10 against exact search")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(plain)
    spread = [point["p50_ms"] for point in points]
    # Within one power of ten, the ticks between are the only ones.
    narrow = not spread or max(spread) < 12 * min(spread)
    axes.xaxis.set_minor_formatter(plain if narrow else NullFormatter())
    axes.tick_params(axis="x", which="minor", labelsize=7.5)
    least = min([0.95, *(point["recall_at_10"] for point in points)])
    axes.set_ylim(least - 0.06 * (1 - least), 1 + 0.06 * (1 - least))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value < 1.0005 else ""))
    axes.margins(x=0.08)
    axes.grid(which="both", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    what = "depth of the rerank" if all(point["nprobe"] == 0 for point in points) else "nprobe"
    axes.legend(loc="lower right", fontsize=8.5, title=f"numbers beside the points: {what}", title_fontsize=8)
