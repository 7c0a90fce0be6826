"""Have the demo's photographs cut in a process of its own, and name them, the altered copies and what is not there."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import SourceError
from shared.processes.own import module_command

_SHEET_ROWS = 40


@dataclass(frozen=True, slots=True)
class DemoQuery:
    """An altered copy, the alteration's name, and the photo that it was made of; None where it was made of none."""

    path: Path
    alteration: str
    original: Path | None


@dataclass(frozen=True, slots=True)
class DemoPhotos:
    """The photos in `folder`, the number of photographs that they were cut from, and queries with their originals; the
    `strangers` show nothing of any photo."""

    folder: Path
    photos: int
    photographs: int
    queries: list[DemoQuery]
    strangers: list[DemoQuery]

    @property
    def verified(self) -> list[DemoQuery]:
        """The copies that the page shows: a verdict takes its time, so only these have one."""
        return self.queries[:_SHEET_ROWS]

    def __str__(self) -> str:
        of = "1 photograph" if self.photographs == 1 else f"{self.photographs} photographs"
        return f"{self.photos:,} photos, cut from {of}, in {self.folder}"


def cut_photos(directory: Path, only: Sequence[str] = ()) -> DemoPhotos:
    """Create the demo's photos and queries under `directory`, or check that they are there.

    With `only`, names of photographs such as "coffee", they are cut from these alone. A process of its own does this:
    the coordinator opens no image. Raises SourceError with the reason that it gives.
    """
    directory.mkdir(parents=True, exist_ok=True)
    chosen = [word for name in only for word in ("--only", name)]
    command = module_command("workers.evaluate.demo_photos", directory, "--json", *chosen)
    made = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=directory, check=False)
    if made.returncode != 0:
        raise SourceError(f"The demo's photos could not be made: {made.stderr.strip()}")
    summary = json.loads(made.stdout)
    queries = [
        DemoQuery(directory / row["query"], row["alteration"], row["original"] and directory / row["original"])
        for row in json.loads((directory / "queries.json").read_text())
    ]
    copies, strangers = [one for one in queries if one.original], [one for one in queries if not one.original]
    return DemoPhotos(directory / "photos", summary["photos"], len(summary["by_source"]), copies, strangers)
