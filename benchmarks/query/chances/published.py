"""Write what small jobs get, the published calibration, into the worker's code from the results.

python -m benchmarks.query.chances.published

`python -m benchmarks.query.chances PHOTOS --docs` does it too.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.support import program
from benchmarks.support.processes import REPOSITORY

RESULTS: Final = program.RESULTS / "chances.json"
CODE: Final = REPOSITORY / "workers" / "evaluate" / "calibration" / "published.py"
_FIGURES: Final = re.compile(r"(?<=# figures: benchmarks/results/chances\.json\n).*(?=# end of figures\n)", re.DOTALL)


def figures(results: Mapping[str, Any]) -> str:
    """The lines of code that say what was published, from results of `benchmarks.query.chances`."""
    found = results["published"]
    points = "".join(f"    ({place!r}, {chance!r}),\n" for place, chance in found["curve"])
    return (
        f'FINGERPRINT: Final = "{results["build"]["fingerprint"]}"\n'
        '"""Of another model, of other weights or another precision, chances are others."""\n'
        # Half of the queries are of photographs that the job does not hold.
        f"COPIES: Final = {found['copies'] // 2}\n"
        f"ORIGINALS: Final = {found['originals']}\n"
        f"CURVE: Final[tuple[Point, ...]] = (\n{points})\n"
        f"BOUND: Final = {found['bound']!r}\n"
        f"NOTHING_THERE: Final = {found['nothing_there']!r}\n"
        f"NOTHING_ABSENT: Final = {found['nothing_absent']!r}\n"
        f"MISSED: Final = {found['missed']!r}\n"
        '"""The share of originals that comparing does not prove, over all alterations, hard ones among them."""\n'
    )


def with_figures(code: str, results: Mapping[str, Any]) -> str:
    """The code of the module with the figures of the results; ValueError where it has no place for them."""
    if _FIGURES.search(code) is None:
        raise ValueError(
            "The code has no block of figures: it begins with `# figures: benchmarks/results/chances.json`."
        )
    return _FIGURES.sub(lambda _: figures(results), code)


def write(results: Mapping[str, Any], code: Path = CODE) -> None:
    """Write the figures of the results into the module."""
    code.write_text(with_figures(code.read_text(), results))


if __name__ == "__main__":
    write(json.loads(RESULTS.read_text()))
