"""The table of what tells copies apart, in docs/benchmarks.md."""

from collections.abc import Mapping
from typing import Any

from benchmarks.support.tables import header_table


def all_tables(results: Mapping[str, Any]) -> dict[str, str]:
    """The table by the name of its block."""
    cpu, wall, found = results["cpu_ms"], results["wall_ms"], results["look_up"]
    made = ", ".join(f"{name} {value:.2f} ms" for name, value in results["parts_ms"].items())
    first = [
        ["photographs", f"{results['embedded']:,}, by {results['model']}"],
        ["CPU of embedding an image, copies off", f"{cpu['off']:.2f} ms"],
        ["CPU of embedding an image, copies on", f"{cpu['on']:.2f} ms, {results['cpu_ratio']:.2f} times as much"],
        ["time of an image on all cores, off and on", f"{wall['off']:.2f} ms, {wall['on']:.2f} ms"],
        ["of it in one thread", made],
        ["stored", f"{results['stored_bytes']:,} bytes an image"],
        [
            "look-up of a PDQ",
            f"p50 {found['ms']['p50']:.2f} ms, p99 {found['ms']['p99']:.2f} ms within {found['bits']} bits among "
            f"{found['hashes']:,}",
        ],
        ["CPU of it", f"p50 {found['cpu_ms']['p50']:.2f} ms, p99 {found['cpu_ms']['p99']:.2f} ms"],
        ["its tables", f"{found['bytes'] / 1e6:,.0f} MB, built in {found['build_seconds']:.1f} s"],
    ]
    return {"copies": header_table(results, first)}
