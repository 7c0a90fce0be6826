"""Have pairs of images compared: what was compared before is not compared again, and what could not be read is."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from coordinator.jobs.runs.duplicates.asking import Part, Work
from coordinator.jobs.runs.duplicates.facts import Facts
from coordinator.jobs.runs.duplicates.grouping import Pair as NodePair
from coordinator.jobs.runs.duplicates.grouping import pair
from shared.broker.lease import compare_lease
from shared.errors import CorruptFile
from shared.job.index.duplicates import compared
from shared.job.index.duplicates.compared import BATCH, Compared, Pair
from shared.job.opened import OpenJob
from shared.messages.duplicates import ComparePairs
from shared.messages.tasks import EMBED_QUEUE

LEAST_ALIGNED: Final = 0.9
"""The share of what two images show in common that has to agree before one of them is called a duplicate.

A search is content with half. It asks about one image, and here each meets those most like it: of 29,699 pairs of
neighbours among photographs of clothes 145 agreed in half or more, and only the two above .9 were one picture. The
others were other clothes on one floor, up to .86.
"""


@dataclass(slots=True)
class Comparisons:
    """What is known of pairs of nodes, places of `facts`, from the files of a job.

    `proven` are those that show the same, `nothing` those of which that is not proven, `unread` those of which an image
    could not be read, with the reason; they are wanted once more in each run. `sharpness`, float32 [n], is 0 where it
    was not measured, and `grey`, bool [n], is which nodes have lost the colours that a copy of theirs has. With
    `pixels_alone` it is enough to know which have the same pixels.
    """

    job: OpenJob
    facts: Facts
    pixels_alone: bool = False
    proven: dict[NodePair, Compared] = field(default_factory=dict)
    nothing: set[NodePair] = field(default_factory=set)
    unread: dict[NodePair, str] = field(default_factory=dict)
    sharpness: npt.NDArray[np.float32] = field(init=False)
    grey: npt.NDArray[np.bool_] = field(init=False)
    damaged: list[Path] = field(default_factory=list)
    _attempts: dict[NodePair, int] = field(default_factory=dict)
    _tried: set[NodePair] = field(default_factory=set)
    _read: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.sharpness = np.zeros(len(self.facts.ids), np.float32)
        self.grey = np.zeros(len(self.facts.ids), np.bool_)

    def read(self) -> None:
        """Read what was compared since the last reading. A file that can't be read counts as not there."""
        for path in self.job.duplicates_files("compared"):
            if path in self._read:
                continue
            try:
                rows, attempt = compared.read_compared(path)
            except CorruptFile:
                self.damaged.append(path)
                continue
            self._read.add(path)
            for row in rows:
                self._take(row, attempt)

    def _take(self, row: Compared, attempt: int) -> None:
        facts = self.facts
        places = facts.places(np.array(row.pair))
        there = facts.nodes[places]
        for place, node, sharpness in zip(places, there, (row.query_sharpness, row.hit_sharpness), strict=True):
            if place >= 0 and sharpness is not None:
                self.sharpness[node] = sharpness
        if (places < 0).any() or not facts.live[there].all() or there[0] == there[1]:
            return  # One of them was removed since.
        nodes = pair(*there.tolist())
        if row.unread is not None:
            if nodes not in self.proven and nodes not in self.nothing:
                self.unread[nodes] = row.unread
                self._attempts[nodes] = max(attempt, self._attempts.get(nodes, 0))
            return
        self.unread.pop(nodes, None)
        if row.verdict is not None and _is_enough(row):
            self.proven[nodes] = row
            self.grey[there] |= (row.query_is_grey, row.hit_is_grey)
        elif self.pixels_alone or not row.pixels_alone:
            self.nothing.add(nodes)

    def known(self) -> dict[NodePair, bool]:
        """Which pairs show the same, of all that need not be compared any more in this run."""
        found = dict.fromkeys(self.nothing | (self.unread.keys() & self._tried), False)
        return found | dict.fromkeys(self.proven, True)

    def missing(self, pairs: Iterable[NodePair], rejected: Collection[NodePair]) -> list[NodePair]:
        """Those of some pairs that are to be compared."""
        return [
            one
            for one in pairs
            if one not in self.proven and one not in self.nothing and one not in self._tried and one not in rejected
        ]

    def work(self, pairs: Iterable[NodePair], ranks: npt.NDArray[np.int64]) -> Work:
        """The work of comparing some pairs, in batches that are written down in the job.

        The better of two is the query: it has most to show, and is looked at more closely.
        """
        by_attempt: dict[int, list[Pair]] = {}
        for one, other in pairs:
            self._tried.add((one, other))
            query, hit = (one, other) if ranks[one] < ranks[other] else (other, one)
            attempt = self._attempts.get((one, other), 0) + 1
            by_attempt.setdefault(attempt, []).append(Pair(int(self.facts.ids[query]), int(self.facts.ids[hit])))
        parts: list[Part] = []
        leases: dict[str, str] = {}
        for attempt, some in sorted(by_attempt.items()):
            some.sort()
            for start in range(0, len(some), BATCH):
                batch = compared.ask(self.job, some[start : start + BATCH], attempt, pixels_alone=self.pixels_alone)
                message = ComparePairs(self.job.job_id, batch, self.job.manifest.identity)
                shown = f"{self.job.job_id} compare {batch}"
                parts.append(Part(message, compare_lease(batch), shown, len(some[start : start + BATCH])))
                leases[self.job.compared_pairs(batch).name] = compare_lease(batch)

        def done() -> set[str]:
            return {leases[path.name] for path in self.job.duplicates_files("compared") if path.name in leases}

        return Work("Comparing images", "pairs", EMBED_QUEUE, parts, done)

    def tidy(self) -> None:
        """Remove the pairs that were asked for and are compared."""
        done = {path.name.removeprefix("compared_") for path in self.job.duplicates_files("compared")}
        for path in self.job.duplicates_files("asked"):
            if path.name.removeprefix("asked_") in done:
                path.unlink(missing_ok=True)


def _is_enough(row: Compared) -> bool:
    return row.evidence is None or float(json.loads(row.evidence)["aligned"]) >= LEAST_ALIGNED
