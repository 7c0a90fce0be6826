"""Make tables in Markdown from the results of the truth benchmark, for the terminal and for docs/benchmarks.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.support.tables import header_table, size, table
from benchmarks.support.targets import Row, at_least, at_most, milliseconds, targets_of
from benchmarks.truth.queries.alterations import KINDS

Results = Mapping[str, Any]

NOT_MEASURED: Final = "Not measured yet."
DESCRIPTOR: Final = "truth_descriptor"
"""The benchmark of a run whose model is a copy descriptor; one of any other model is "truth"."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What is aimed at: shares, false verdicts in 1,000 queries, CPU by that of embedding, and milliseconds."""

    r_at_1: float
    worst: float
    most: int
    recognised: float
    times_cpu: float
    p50: float


_PACKAGED: Final = Targets(r_at_1=0.94, worst=0.60, most=22, recognised=0.92, times_cpu=2.5, p50=150.0)
_COPIES: Final = Targets(r_at_1=0.985, worst=0.90, most=27, recognised=0.95, times_cpu=2.1, p50=100.0)
# Of either model.
_OF_MOST, _PER_1000, _SAME_PIXELS = 0.90, 1.0, 0.95
_BYTES, _P50_NOTHING_NEAR = 4_500, 15.0
_PAIRS, _PIXEL_PAIRS = 20_000, 10_000_000
_AUTO: Final = "lookalike, auto"
_SAME_PIXELS_KINDS: Final = tuple(kind.name for kind in KINDS if kind.same_pixels)


def all_tables(results: Results) -> dict[str, str]:
    """Every table by its name, in the order in which a person reads them; one of nothing measured says so.

    Those of a copy descriptor have names of their own, and leave out what belongs to no model.
    """
    if results.get("benchmark") == DESCRIPTOR:
        return {
            "descriptor-run": run_table(results),
            "descriptor-methods": methods_table(results),
            "descriptor-first": first_table(results),
            "descriptor-recognised": recognised_table(results),
            "descriptor-pairs": pairs_table(results),
            "descriptor-targets": targets_table(results),
        }
    makers = {
        "truth-run": run_table,
        "truth-methods": methods_table,
        "truth-first": first_table,
        "truth-recognised": recognised_table,
        "truth-pixels": pixels_table,
        "truth-pairs": pairs_table,
        "truth-targets": targets_table,
    }
    measured = "machine" in results
    return {name: make(results) if measured else NOT_MEASURED for name, make in makers.items()}


def run_table(results: Results) -> str:
    """What the figures belong to."""
    sizes = results["sizes"]
    twins = results["twins"]
    first = [
        ["photographs", results["photographs"]],
        ["searched", f"{results['searched']:,}, of which {sizes['originals']:,} were altered"],
        ["left out", f"{sizes['others']:,} for collages and the like, {len(twins):,} that others show too"],
        ["alterations", f"{len(results['alterations'])}"],
        ["model", f"`{results['model']}`"],
    ]
    absent = [["not measured", " ".join(results["not_measured"])]] if results["not_measured"] else []
    return header_table(results, first, absent)


def methods_table(results: Results) -> str:
    """Every method with each of its rules: what it finds, recognises and says wrongly, and what it costs."""
    rows = []
    for name, found in results["methods"].items():
        stored, ms = found["stored"], found["ms"]
        for rule in found["rules"]:
            cells = [
                f"{rule['queries']:,}",
                f"{rule['r_at_1']:.3f}",
                f"{rule['recognised']:.3f}",
                f"{rule['false_per_1000']:.2f}",
            ]
            cells += [_latency(ms["present"]), _latency(ms["absent"]) if "absent" in ms else ""]
            cells += [f"{stored['bytes_per_image']:,.0f}", f"{stored['cpu_ms']:.1f}"]
            rows.append([name, rule["says"], *cells])
    heads = ["method", "the same is", "queries", "R@1", "recognised", "false in 1,000", "p50 / p90, ms", "absent, ms"]
    return table([*heads, "bytes an image", "CPU an image, ms"], rows, right=2)


def first_table(results: Results) -> str:
    """What each alteration is, and the share of its queries whose original is first, by method."""
    return _by_alteration(results, "r_at_1", sentences=True)


def recognised_table(results: Results) -> str:
    """The share of each alteration whose original is called the same, by method, with its first rule."""
    return _by_alteration(results, "recognised")


def pixels_table(results: Results) -> str:
    """The share of copies of the whole picture that are called the same pixels, by the verifying methods."""
    verifying = {name: found["rules"][0]["verdicts"] for name, found in _verifying(results).items()}
    rows = [
        [kind, *(f"{said[kind].get('same pixels', 0):.3f}" for said in verifying.values())]
        for kind in results["alterations"]
        if kind in _SAME_PIXELS_KINDS
    ]
    return table(["alteration", *verifying], rows, right=1)


def pairs_table(results: Results) -> str:
    """How many pairs of different photographs were wrongly called the same."""
    rows = [
        ["same picture or pixels", name, f"{found['pairs']:,}", _range(found["alike"]), f"{found['false']:,}"]
        for name, found in results["pairs"].items()
    ]
    rows += [
        ["same pixels", name, f"{found['pairs']:,}", "", f"{found['false']:,}"]
        for name, found in results["pixels"].items()
    ]
    return table(["asked for", "pairs", "number", "how alike", "false"], rows, right=2)


def targets_table(results: Results) -> str:
    """Issue 17's targets for the packaged weights or for a copy descriptor, by the verifying method that finds most."""
    asked_for = _COPIES if results.get("benchmark") == DESCRIPTOR else _PACKAGED
    verifying = _verifying(results)
    if not verifying:
        return NOT_MEASURED
    name, found = max(verifying.items(), key=lambda item: item[1]["rules"][0]["r_at_1"])
    rule, kinds = found["rules"][0], found["rules"][0]["by_alteration"]
    firsts = [shares["r_at_1"] for shares in kinds.values()]
    rows: list[Row] = [
        at_least("R@1, all alterations", name, rule["r_at_1"], asked_for.r_at_1),
        at_least(
            "R@1, worst alteration", min(kinds, key=lambda kind: kinds[kind]["r_at_1"]), min(firsts), asked_for.worst
        ),
        at_least(
            f"alterations with R@1 of {_OF_MOST:g} or more",
            name,
            sum(first >= _OF_MOST for first in firsts),
            asked_for.most,
            "{:.0f}".format,
        ),
        at_least("recognised", name, rule["recognised"], asked_for.recognised),
        at_most("false in 1,000, original absent", name, rule["false_per_1000"], _PER_1000, "{:.2f}".format),
        at_most("query p50", name, found["ms"]["present"]["p50"], asked_for.p50, milliseconds),
    ]
    if _AUTO in verifying:
        absent = verifying[_AUTO]["ms"]["absent"]["p50"]
        rows.append(at_most("query p50, nothing near enough", _AUTO, absent, _P50_NOTHING_NEAR, milliseconds))
    for asked, pairs, least in (("pairs", "pairs", _PAIRS), ("pixels", "pairs", _PIXEL_PAIRS)):
        what = "hardest pairs" if asked == "pairs" else "pairs asked for the same pixels"
        count = sum(one[pairs] for one in results[asked].values())
        false = sum(one["false"] for one in results[asked].values())
        if count:
            rows.append(at_least(f"{what}", "their number", count, least, "{:,.0f}".format))
            rows.append(at_most(f"false among the {what}", name, false, 0, "{:,.0f}".format))
    said = rule["verdicts"]
    rows += [
        at_least(f"same pixels, {kind}", name, said[kind].get("same pixels", 0.0), _SAME_PIXELS)
        for kind in _SAME_PIXELS_KINDS
        if kind in said
    ]
    # Of a job, other files would count too.
    name, stored = next((known, one["stored"]) for known, one in verifying.items() if known.startswith("cosine"))
    embedding = results["methods"]["cosine"]["stored"]
    more = stored["bytes_per_image"] - embedding["bytes_per_image"]
    times = stored["cpu_ms"] / embedding["cpu_ms"] if embedding["cpu_ms"] else 0.0
    rows.append(at_most("bytes an image, beside its embedding", name, round(more), _BYTES, size))
    rows.append(at_most("CPU of embedding", name, times, asked_for.times_cpu, "{:.2f} x".format))
    return targets_of(rows)


def _verifying(results: Results) -> dict[str, Any]:
    """The methods that verify, by name: those whose answer takes another time where the original is absent."""
    return {name: found for name, found in results["methods"].items() if "absent" in found["ms"]}


def _by_alteration(results: Results, figure: str, *, sentences: bool = False) -> str:
    methods, told = results["methods"], results["alterations"]
    rows = []
    for kind, sentence in told.items():
        shares = [f"{found['rules'][0]['by_alteration'][kind][figure]:.3f}" for found in methods.values()]
        rows.append([kind, *([sentence] if sentences else []), *shares])
    every = [f"{found['rules'][0][figure]:.3f}" for found in methods.values()]
    rows.append(["all", *([""] if sentences else []), *every])
    heads = ["alteration", *(["what is done"] if sentences else []), *methods]
    return table(heads, rows, right=2 if sentences else 1)


def _latency(ms: Mapping[str, float]) -> str:
    return f"{ms['p50']:.1f} / {ms['p90']:.1f}"


def _range(alike: list[float]) -> str:
    return f"{alike[0]:.3f} to {alike[1]:.3f}" if alike else ""
