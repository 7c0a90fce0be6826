"""Make tables in Markdown from the results of a growth benchmark, for the terminal and for docs/benchmarks.md."""

from collections.abc import Sequence
from statistics import median

from benchmarks.support.tables import Results, header_table, table


def all_tables(results: Results) -> dict[str, str]:
    """Every table by its name, in the order in which a person reads them."""
    sizes = sorted(results["sizes"].values(), key=lambda found: found["rows"])
    return {
        "growth-run": header_table(results, [["dimensions", f"{results['dim']:,}"]]),
        "growth-changes": changes_table(sizes),
        "growth-merges": merges_table(sizes),
        "growth-life": life_table(sizes),
        "growth-listing": listing_table(results["listing"]),
        "growth-peers": peers_table(sizes, results["peers"]),
        "growth-compaction": compaction_table(sizes),
    }


def changes_table(sizes: Sequence[Results]) -> str:
    """How soon a change is seen by a query worker that has the index open."""
    rows = []
    for found in sizes:
        for added in found["additions"]:
            seconds = f"{added['seconds_to_found']:.3f}"
            rows.append([f"{found['rows']:,}", f"{added['rows']:,} added: sealed, and found", seconds])
        for removed in found["removals"]:
            seconds = f"{removed['seconds_to_gone']:.3f}"
            rows.append([f"{found['rows']:,}", f"{removed['removed']:,} removed: gone from the answers", seconds])
    return table(["embeddings", "change", "seconds"], rows, right=2)


def merges_table(sizes: Sequence[Results]) -> str:
    """What is found, how fast, and what its build took."""
    rows = []
    for found in sizes:
        full = found["full"]["wall_seconds"]
        steps = [
            ("built from scratch", found["full"]),
            (f"{found['uncovered']['rows']:,} more, in no build", found["uncovered"]),
            ("the same, build grown", found["grown"]),
            ("1 % more, build grown", found["one_percent"]),
            *((f"{removed['removed']:,} removed", removed) for removed in found["removals"]),
        ]
        for what, step in steps:
            seconds = step.get("wall_seconds")
            rows.append(
                [
                    f"{found['rows']:,}",
                    what,
                    "" if seconds is None else f"{seconds:,.1f}",
                    "" if seconds is None else f"{seconds / full:.0%}",
                    f"{step['recall_at_10']:.4f}",
                    f"{step['warm_ms']['p50']:.2f}",
                ]
            )
    return table(["embeddings", "", "merge, s", "of a full one", "recall@10", "p50, ms"], rows, right=2)


def compaction_table(sizes: Sequence[Results]) -> str:
    """What it costs to let removed images leave the disk after a life of rounds."""
    rows = []
    for found in sizes:
        one = found["compaction"]
        cells = [
            f"{one['purged']:,}",
            f"{one['partitions']:,}",
            f"{one['bytes'] / 1e9:.2f}",
            f"{one['seconds_to_compact']:,.1f}",
        ]
        cells += [f"{one['seconds_to_open']:.2f}", f"{one['wall_seconds']:,.1f}", f"{one['recall_at_10']:.4f}"]
        rows.append([f"{found['rows']:,}", *cells])
    head = ["embeddings at first", "images purged", "partitions", "freed, GB", "compaction, s", "opened again, s"]
    return table([*head, "merge, s", "recall@10"], rows, right=1)


def life_table(sizes: Sequence[Results]) -> str:
    """What rounds of additions and removals leave of recall and latency, beside an index built from scratch."""
    rows = []
    for found in sizes:
        life = found["life"]
        merges = f"{min(life['merge_seconds']):,.1f} to {max(life['merge_seconds']):,.1f}"
        for what, seconds, step in (
            (f"grown in {life['rounds']} rounds", merges, life["grown"]),
            ("built from scratch", f"{life['fresh']['wall_seconds']:,.1f}", life["fresh"]),
        ):
            cells = [what, seconds, f"{step['recall_at_10']:.4f}", f"{step['warm_ms']['p50']:.2f}"]
            rows.append([f"{found['rows']:,}", *cells])
    return table(["embeddings at first", "", "merge, s", "recall@10", "p50, ms"], rows, right=2)


def shards_tables(results: Results) -> dict[str, str]:
    """The tables of builds of shards by their names."""
    head = [["embeddings", f"{results['rows']:,}"], ["dimensions", f"{results['dim']:,}"]]
    return {"shards-run": header_table(results, head), "shards-builds": shards_table(results["builds"])}


def shards_table(builds: Sequence[Results]) -> str:
    """What builds of shards took, part by part, and what a query to them takes."""
    rows = []
    for build in builds:
        parts = build["seconds"]
        cells = [f"{parts[name]:,.1f}" if name in parts else "" for name in ("trained", "filled", "measured")]
        largest = f"{max(build['index_bytes']) / 1e6:,.1f}"
        cells += [f"{build['wall_seconds']:,.1f}", largest, f"{build['recall_at_10']:.4f}"]
        rows.append([f"{build['shards']}", f"{build['side_by_side']}", *cells, f"{build['warm_ms']['p50']:.2f}"])
    names = ["shards", "filled at once", "trained, s", "filled, s", "measured, s", "all, s", "largest, MB"]
    return table([*names, "recall@10", "p50, ms"], rows, right=0)


def merging_tables(results: Results) -> dict[str, str]:
    """The tables of merges of 1 % more, beside a full build, by their names."""
    head = [["embeddings", f"{results['rows']:,}"], ["dimensions", f"{results['dim']:,}"]]
    return {"merging-run": header_table(results, head), "merging": merging_table(results["merges"])}


def merging_table(merges: Sequence[Results]) -> str:
    """What each kind of merge took, by the median, and by how many queries the recall of its last was measured."""
    kinds = {"full": "built from scratch", "kept": "1 % more, exact answers kept", "asked anew": "1 % more, asked anew"}
    full = next(merge["wall_seconds"] for merge in merges if merge["kind"] == "full")
    rows = []
    for kind, what in kinds.items():
        some = [merge for merge in merges if merge["kind"] == kind]
        seconds = median(merge["wall_seconds"] for merge in some)
        measuring = median(merge["seconds"]["measuring"] for merge in some)
        recall = f"{some[-1]['recall_at_10']:.4f} of {some[-1]['recall_queries']}"
        rows.append([what, f"{len(some)}", f"{seconds:,.1f}", f"{measuring:,.1f}", f"{seconds / full:.1%}", recall])
    return table(["", "runs", "seconds", "of them measuring", "of a full one", "recall@10, queries"], rows, right=1)


def listing_table(listing: Results | None) -> str:
    """What it costs to compare a source with what the job knows of it."""
    rows = []
    if listing is not None:
        changes = listing["changed"]["found"]
        for what, found in (("nothing", listing["unchanged"]), (changes, listing["changed"])):
            rows.append([f"{listing['files']:,}", what, f"{found['seconds']:.1f}"])
        rows.append([f"{listing['files']:,}", "most memory, MB", f"{listing['peak_rss_bytes'] / 1e6:,.0f}"])
    return table(["files", "what changed", "seconds"], rows, right=2)


def peers_table(sizes: Sequence[Results], peers: Sequence[Results]) -> str:
    """Other stores with the same features and queries, beside ours of that size."""
    rows = []
    measured = {one["rows"] for one in peers}
    ours = [("lookalike", size, size["removals"][1]) for size in sizes if size["rows"] in measured]
    for name, found, removal in [*ours, *((one["peer"], one, one["removal"]) for one in peers)]:
        cells = [f"{added['seconds_to_found']:.3f}" for added in found["additions"]]
        for step in ("full", "uncovered", "grown"):
            cells += [f"{found[step]['recall_at_10']:.3f}, {found[step]['warm_ms']['p50']:.1f} ms"]
        merges = [f"{found[step]['wall_seconds']:,.1f}" for step in ("full", "grown")]
        rows.append([name, *merges, *cells, f"{removal['seconds_to_gone']:.3f}"])
    added = [f"{count:,} added, s" for count in (1, 100, 10_000)]
    steps = ["built: recall@10, p50", "20,000 in no index", "taken into the index"]
    return table(["", "build, s", "grow, s", *added, *steps, "1 % removed, s"], rows, right=1)
