"""Make tables in Markdown from the results of an embedding benchmark, for the terminal and for docs/benchmarks.md."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.support.tables import header_table, size, table
from benchmarks.support.targets import Row, at_least, at_most, seconds, targets_of

Results = Mapping[str, Any]

NOT_MEASURED = "Not measured yet."

# Issue 5 and the design: what is to be reached on two cores. The way beside the article, by wall and by CPU.
_TIMES_ARTICLE = {"openvino f32": (2.2, 1.7), "openvino bf16": (3.5, 2.7)}
_SHARE_OF_BOUND = 0.95
_SHARE_OF_FOLDER = 0.95
_WORKER_BYTES = 450_000_000
_LISTING = (60.0, 500_000_000)
_DISPATCH_SECONDS = 1.0


def all_tables(results: Results) -> dict[str, str]:
    """Every table by its name, in the order in which a person reads them; one of nothing measured says so."""
    if results.get("device") == "gpu":
        return {
            "embed-gpu-run": run_table(results),
            "embed-gpu-ends": ends_table(results),
            "embed-gpu-bound": bound_table(results),
        }
    return {
        "embed-run": run_table(results),
        "embed-ends": ends_table(results),
        "embed-bound": bound_table(results),
        "embed-sources": sources_table(results),
        "embed-lists": lists_table(results),
        "embed-targets": targets_table(results),
    }


def run_table(results: Results) -> str:
    """What the figures belong to."""
    if "machine" not in results:
        return NOT_MEASURED
    facts = results["facts"]
    runs = [
        ["photographs", results["photographs"]],
        ["Keras runs on", f"{facts['backend']}, {', '.join(facts['devices'])}"],
        ["OpenVINO computes here in", ", ".join(facts["precisions"])],
        ["repeats", str(results["repeats"])],
    ]
    return header_table(results, runs)


def ends_table(results: Results) -> str:
    """From file to seal: every model in every way, and how many times the article's rate."""
    rows = []
    for model, found in results.get("ends", {}).items():
        for way, told in found["ways"].items():
            median = told["median"]
            rows.append(
                [
                    model,
                    f"{found['images']:,}",
                    "the article's way" if way == "article" else way,
                    f"{median['images_per_second']:,.1f}",
                    f"{median['images_per_cpu_second']:,.1f}",
                    f"{median['times_article_images_per_second']:.2f}",
                    f"{median['times_article_images_per_cpu_second']:.2f}",
                    size(median["peak_rss_bytes"]),
                    size(median["peak_own_bytes"]),
                    " ".join(f"{run['images'] / run['wall_seconds']:,.1f}" for run in told["runs"]),
                ]
            )
    rates = ["images/s", "images per CPU second", "times the article's", "per CPU second"]
    heads = ["model", "images", "way", *rates, "peak resident", "peak its own", "repeats, images/s"]
    return table(heads, rows, right=3) if rows else NOT_MEASURED


def bound_table(results: Results) -> str:
    """Decoding and the model alone, what both allow together, and the share of it that is reached."""
    rows = []
    for model, found in results.get("ends", {}).items():
        for way, told in found["ways"].items():
            median = told["median"]
            if "alone" not in median:
                continue
            reached = {"wall": median["images_per_second"], "cpu": median["images_per_cpu_second"]}
            for kind, what in (("cpu", "per CPU second"), ("wall", "per second")):
                rows.append(
                    [
                        model,
                        way,
                        what,
                        *(f"{median['alone'][part][kind]:,.1f}" for part in ("decode", "model")),
                        f"{median['bound'][kind]:,.1f}",
                        f"{reached[kind]:,.1f}",
                        f"{median['share_of_bound'][kind]:.1%}",
                    ]
                )
    heads = ["model", "way", "images", "read and decode alone", "model alone", "bound", "end to end", "share"]
    return table(heads, rows, right=3) if rows else NOT_MEASURED


def sources_table(results: Results) -> str:
    """The same images from a folder, a tar and a zip."""
    rows = []
    for model, found in results.get("sources", {}).items():
        folder = found["ways"]["folder"]["median"]
        for kind, told in found["ways"].items():
            median = told["median"]
            rows.append(
                [
                    model,
                    kind,
                    f"{found['images']:,}",
                    f"{median['images_per_second']:,.1f}",
                    f"{median['images_per_cpu_second']:,.1f}",
                    *(f"{share:.1%}" for share in _of_folder(median, folder)),
                ]
            )
        rows += [[model, kind, "left out: this version takes no such source", *[""] * 4] for kind in found["left_out"]]
    heads = ["model", "source", "images", "images/s", "per CPU second", "of the folder's rate", "per CPU second"]
    return table(heads, rows, right=3) if rows else NOT_MEASURED


def lists_table(results: Results) -> str:
    """Listing, asking for the partitions, and the memory of a worker at two sizes."""
    rows = []
    for kind, found in results.get("listing", {}).items():
        took = f"{found['seconds']:.1f} s wall, {found['cpu_seconds']:.1f} s CPU"
        rows.append([f"listing {found['paths']:,} paths of a {kind}", took, *_memory(found)])
    for broker, found in results.get("dispatch", {}).items():
        took = f"{found['seconds']:.3f} s ({', '.join(f'{run:.3f}' for run in found['runs'])})"
        rows.append([f"asking for {found['partitions']} partitions, {broker}", took, "", ""])
    for found in results.get("memory", {}).values():
        what = f"embed worker, {found['model']}, {found['images']:,} images"
        rows.append([what, f"{found['cpu_seconds']:.1f} s CPU", *_memory(found)])
    return table(["", "took", "peak resident", "peak its own"], rows, right=2) if rows else NOT_MEASURED


def targets_table(results: Results) -> str:
    """What was to be reached on two cores, and whether it was."""
    rows = [*_speed_targets(results), *_size_targets(results)]
    return targets_of(rows) if rows else NOT_MEASURED


def _speed_targets(results: Results) -> Iterator[Row]:
    precisions = results.get("facts", {}).get("precisions", [])
    for model, found in results.get("ends", {}).items():
        for way, (wall, cpu) in _TIMES_ARTICLE.items():
            if way not in found["ways"]:
                if way.rpartition(" ")[2] not in precisions:
                    yield [
                        f"{way}: at least {wall:g} times the article's rate",
                        model,
                        "this CPU can't",
                        "not measured",
                    ]
                continue
            median = found["ways"][way]["median"]
            yield at_least(f"{way}, times the article's rate", model, median["times_article_images_per_second"], wall)
            per_cpu = median["times_article_images_per_cpu_second"]
            yield at_least(f"{way}, times the article's per CPU second", model, per_cpu, cpu)
            share = median["share_of_bound"]["cpu"]
            yield at_least(f"{way}, share of the bound per CPU second", model, share, _SHARE_OF_BOUND)
    for model, found in results.get("sources", {}).items():
        folder = found["ways"]["folder"]["median"]
        for kind in ("tar", "zip"):
            if kind in found["ways"]:
                share, _ = _of_folder(found["ways"][kind]["median"], folder)
                yield at_least(f"a {kind}, share of the folder's rate", model, share, _SHARE_OF_FOLDER)


def _size_targets(results: Results) -> Iterator[Row]:
    for found in results.get("memory", {}).values():
        what = f"{found['model']}, {found['images']:,} images"
        yield at_most("embed worker resident", what, found["peak_rss_bytes"], _WORKER_BYTES, size)
    for kind, found in results.get("listing", {}).items():
        what = f"{found['paths']:,} paths, {kind}"
        yield at_most("listing", what, found["seconds"], _LISTING[0], seconds)
        yield at_most("listing resident", what, found["peak_rss_bytes"], _LISTING[1], size)
    for found in results.get("dispatch", {}).values():
        what = f"{found['partitions']} partitions"
        yield at_most("asking for the work", what, found["seconds"], _DISPATCH_SECONDS, seconds)


def _of_folder(median: Results, folder: Results) -> tuple[float, float]:
    """Which share of the folder's rate a source reaches, by the wall clock and per CPU second."""
    wall, cpu = (median[key] / folder[key] for key in ("images_per_second", "images_per_cpu_second"))
    return wall, cpu


def _memory(found: Results) -> list[str]:
    return [size(found["peak_rss_bytes"]), size(found["peak_own_bytes"])]
