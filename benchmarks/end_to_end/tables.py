"""From the results of an end-to-end benchmark to tables in Markdown, for the terminal and for docs/benchmarks.md."""

from collections.abc import Mapping
from typing import Any

from benchmarks.support.tables import header_table, size, table

Results = Mapping[str, Any]


def all_tables(results: Results) -> dict[str, str]:
    """Every table by its name, in the order in which a person reads them."""
    return {
        "run": run_table(results),
        "found": found_table(results),
        "latency": latency_table(results),
        "embedding": embedding_table(results),
        "resume": resume_table(results),
    }


def run_table(results: Results) -> str:
    """What the figures belong to."""
    index = results["index"]
    first = ["photographs", f"{results['photographs']}; {index['embedded']:,} embedded, {index['failed']:,} failed"]
    return header_table(results, [first], [["model", f"`{index['model']}`"]])


def found_table(results: Results) -> str:
    """Altered copies that found their original, by alteration."""
    search = results["search"]
    rows = [
        [
            row["alteration"] if row["required"] else f"{row['alteration']} (extra)",
            row["does"],
            f"{row['queries']:,}",
            percent(row["rank_1"], row["queries"]),
            percent(row["in_10"], row["queries"]),
            f"{row['recall_at_10']:.3f}",
        ]
        for row in search["found"]
    ]
    required = search["required"]
    met = "met" if required["rank_1"] >= required["target"] * required["queries"] else "missed"
    rows.append(
        [
            "**the six together**",
            f"target: at least {required['target']:.0%} at rank 1, {met}",
            f"{required['queries']:,}",
            f"**{percent(required['rank_1'], required['queries'])}**",
            percent(required["in_10"], required["queries"]),
            "",
        ]
    )
    return table(["alteration", "what is done", "copies", "at rank 1", "accuracy@10", "recall@10"], rows, right=2)


def latency_table(results: Results) -> str:
    """Milliseconds of single queries."""
    search, index = results["search"], results["index"]["index"]
    rows = [
        [what, where, f"{measured['queries']:,}", f"{measured[key]['p50']:.2f}", f"{measured[key]['p99']:.2f}"]
        for what, measured in (("vector", search["by_vector"]), ("image file", search["by_image"]))
        for where, key in (("in the worker", "worker_ms"), ("client round trip", "round_trip_ms"))
    ]
    rows.append(
        ["vector", "at the build", f"{index['recall_queries']:,}", f"{index['p50_ms']:.2f}", f"{index['p99_ms']:.2f}"]
    )
    return table(["query", "measured", "queries", "p50 ms", "p99 ms"], rows, right=2)


def embedding_table(results: Results) -> str:
    """What `lookalike index` took."""
    index = results["index"]
    built = index["index"]
    recall = "not measured" if built["recall_at_10"] is None else f"{built['recall_at_10']:.3f}"
    rows = [
        ["whole command", f"{index['wall_seconds']:,.1f} s wall, {index['cpu_seconds']:,.1f} s CPU with its workers"],
        ["embedding", f"{index['images_per_second']:,.1f} images/s from reading to checkpoint"],
        [
            "embed worker, start included",
            f"{index['images_per_cpu_second_of_embed_worker']:,.1f} images per CPU second",
        ],
    ]
    rows += [
        [
            f"{worker['role']} worker",
            f"{worker['cpu_seconds']:,.1f} s CPU, {size(worker['peak_rss_bytes'])} at its peak",
        ]
        for worker in index["workers"]
    ]
    phases = ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in built["seconds"].items())
    sizes = ", ".join(f"{name} {size(count)}" for name, count in index["job_bytes"].items())
    rows += [
        [f"index, {built['type']} (`{built['factory']}`)", f"{phases}; {size(built['bytes'])}"],
        ["recall@10 at the build", f"{recall} ({built['recall_queries']:,} queries)"],
        ["job", f"{size(sum(index['job_bytes'].values()))} ({sizes})"],
        ["photographs on disk", size(index["image_bytes"])],
    ]
    return table(["", ""], rows)


def resume_table(results: Results) -> str:
    """What was killed when, and what became of the job."""
    resume = results["resume"]
    equal = "yes" if resume["embeddings_equal_byte_for_byte"] else "no"
    rows = [
        ["chunks", f"{resume['chunks']} of {resume['chunk_size']:,} images"],
        *(
            [
                f"{kill['killed']} killed with SIGKILL",
                f"after {kill['chunks_committed']} chunks; next commit {kill['seconds_to_next_commit']:.1f} s later",
            ]
            for kill in resume["kills"]
        ),
        ["committed chunks written again", str(resume["committed_chunks_written_again"])],
        ["chunks under way and lost, at most", str(resume["chunks_under_way_lost_at_most"])],
        ["embeddings equal to the undisturbed run, byte for byte", equal],
        ["wall time with all restarts", f"{resume['wall_seconds']:,.1f} s"],
    ]
    return table(["", ""], rows)


def percent(part: int, whole: int) -> str:
    """A share as a percentage with one decimal, rounded down: 96.96 % is not 97.0 %."""
    return f"{1000 * part // whole / 10:.1f} %"
