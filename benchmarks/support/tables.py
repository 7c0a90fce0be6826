"""Make tables in Markdown, with the head that every run has, and put them into the blocks of docs/benchmarks.md."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shared.errors import UsageError

Results = Mapping[str, Any]

_BLOCK = re.compile(r"(<!-- figures: (?P<name>[a-z-]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def fill_in(page: str, made: Mapping[str, str]) -> str:
    """`page` with the tables `made` in their blocks, `<!-- figures: NAME -->` to `<!-- end of figures -->`.

    Blocks of other benchmarks stay as they are. Raises UsageError where the page has not one block for each table.
    """
    names = block_names(page)
    if absent := [name for name in made if names.count(name) != 1]:
        raise UsageError(f"The page has blocks for the figures {names}; it needs one for each of {absent}.")
    return _BLOCK.sub(
        lambda match: f"{match[1]}{made[match['name']]}\n{match[3]}" if match["name"] in made else match[0], page
    )


def block_names(page: str) -> list[str]:
    """What the blocks of a page are called, in their order."""
    return [match["name"] for match in _BLOCK.finditer(page)]


def header_table(results: Results, first: Sequence[Sequence[str]], last: Sequence[Sequence[str]] = ()) -> str:
    """The machine, the versions, the moment and the command of a run, with rows of its own before and after."""
    machine = results["machine"]
    accelerators = ", ".join(machine["accelerators"]) or "none"
    versions = ", ".join(f"{package} {number}" for package, number in results["versions"].items())
    return table(
        ["", ""],
        [
            *first,
            ["machine", f"{machine['cpu']}, {machine['cores']} cores, {size(machine['memory_bytes'])}"],
            ["accelerators", accelerators],
            ["system", machine["system"]],
            ["load before the run", " ".join(f"{load:.2f}" for load in results["load_before"])],
            ["versions", versions],
            *last,
            ["made", f"{results['made_at']}, in {results['wall_seconds']:,.0f} s"],
            ["command", f"`{results['command']}`"],
        ],
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: int | None = None) -> str:
    """A Markdown table; the columns from number `right` on are aligned to the right."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    first_right = len(heads) if right is None else right

    def line(cells: Sequence[str]) -> str:
        filled = (
            cell.rjust(width) if column >= first_right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(filled)} |"

    rule = (f"{'-' * (width + 1)}{':' if column >= first_right else '-'}" for column, width in enumerate(widths))
    return "\n".join([line(heads), f"|{'|'.join(rule)}|", *map(line, rows)])


def size(count: int) -> str:
    """Bytes as people say them, in decimal units: 999 B, 1.2 kB, 3.4 MB, 5.67 GB."""
    if count < 1_000:
        return f"{count} B"
    if count < 1_000_000:
        return f"{count / 1e3:.1f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1_000_000_000 else f"{count / 1e9:.2f} GB"
