"""Make groups of images of groups of nodes: which image is kept and why, and what is known of each."""

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from coordinator.jobs.runs.duplicates.candidates import Candidates
from coordinator.jobs.runs.duplicates.evidence import turned_around
from coordinator.jobs.runs.duplicates.facts import Facts
from coordinator.jobs.runs.duplicates.found import FINE, Beside, Group, Member
from coordinator.jobs.runs.duplicates.grouping import Nodes, Pair, apart, pair
from shared.images.paths import is_url, split_member, to_os_path
from shared.job.index.duplicates.compared import Compared
from shared.job.opened import OpenJob
from shared.job.source.moved import read_moved
from shared.messages.verdicts import SAME_BYTES, SIMILAR, Evidence
from shared.storage.parquet import read_table

_MOST_DATES: Final = 100  # Files whose date is asked for in one group: a mount answers each by itself.

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """What groups of images are made of: the facts, what was compared, and the pairs of images that were rejected."""

    job: OpenJob
    facts: Facts
    sharpness: np.ndarray
    grey: np.ndarray
    proven: Mapping[Pair, Compared]
    candidates: Candidates
    rejected: Collection[tuple[int, int]]

    def groups(self, nodes: Sequence[Nodes]) -> list[Group]:
        """The groups with their images, the largest first, and of equal ones the one with the lowest id."""
        of_node = self._images_of_nodes()
        drafts = [(one, self._ids(one, of_node)) for one in nodes]
        drafts = [(one, ids) for one, ids in drafts if sum(map(len, ids.values())) > 1]
        wanted = {image for _, ids in drafts for some in ids.values() for image in some}
        wanted |= {int(self.facts.ids[node]) for one, _ in drafts for node, _ in one.beside}
        rows = self._rows(wanted)
        near = self._similarities(drafts)
        made = [self._group(one, ids, rows, near) for one, ids in drafts]
        return sorted(made, key=lambda group: (-len(group.members), min(member.id for member in group.members)))

    def _images_of_nodes(self) -> Callable[[int], list[int]]:
        live = np.flatnonzero(self.facts.live)
        order = live[np.argsort(self.facts.nodes[live], kind="stable")]
        nodes = self.facts.nodes[order]

        def images(node: int) -> list[int]:
            first, last = np.searchsorted(nodes, [node, node + 1])
            found: list[int] = self.facts.ids[order[first:last]].tolist()
            return found

        return images

    def _ids(self, group: Nodes, of_node: Callable[[int], list[int]]) -> dict[int, list[int]]:
        """The images of each node of a group, without those that were rejected beside one before them."""
        found: dict[int, list[int]] = {}
        foes, before = apart(self.rejected), set[int]()
        for node in (group.kept, *group.proven, *group.similar):
            found[node] = []
            for image in of_node(node):
                if image in foes and not foes[image].isdisjoint(before):
                    continue
                found[node].append(image)
                before.add(image)
        return found

    def _rows(self, wanted: Collection[int]) -> dict[int, Row]:
        """What the metadata says of some images, with their places now."""
        moved, found = read_moved(self.job), dict[int, Row]()
        left = np.array(sorted(wanted), np.int64)
        for partition in self.job.partitions:
            some = left[(left >= partition.start) & (left < partition.stop)]
            if not len(some):
                continue
            table = read_table(self.job.metadata(partition.number), ["id", "image_path", "width", "height", "bytes"])
            for row in table.take(np.searchsorted(table["id"].to_numpy(), some)).to_pylist():
                found[row["id"]] = row | {"image_path": moved.now(row["image_path"])}
        return found

    def _similarities(self, drafts: Iterable[tuple[Nodes, object]]) -> dict[Pair, float]:
        wanted = [pair(one.kept, node) for one, _ in drafts for node in (*one.proven, *one.similar)]
        if not wanted or not len(self.candidates.lower):
            return {}
        count = len(self.facts.ids)
        keys = self.candidates.lower * count + self.candidates.upper  # In order, as the candidates are.
        asked = np.array([lower * count + upper for lower, upper in wanted])
        places = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        return {
            one: float(self.candidates.similarities[place])
            for one, key, place in zip(wanted, asked.tolist(), places.tolist(), strict=True)
            if keys[place] == key
        }

    def _group(
        self, group: Nodes, ids: Mapping[int, list[int]], rows: Mapping[int, Row], near: Mapping[Pair, float]
    ) -> Group:
        kept_ids, dated = _oldest_first(ids[group.kept], rows)
        members = [_member(rows[kept_ids[0]])]
        members += [_member(rows[image], SAME_BYTES) for image in kept_ids[1:]]
        for node in group.proven:
            verdict, evidence = self._proof(node, group.kept)
            similarity, is_finer = near.get(pair(node, group.kept)), self._is_finer(node, group.kept, evidence)
            members += [_member(rows[image], verdict, similarity, evidence, is_finer) for image in ids[node]]
        for node in group.similar:
            similarity = near.get(pair(node, group.kept))
            members += [_member(rows[image], SIMILAR, similarity) for image in ids[node]]
        beside = [self._beside(*one, rows, ids) for one in group.beside]
        reason = self._reason(group, dated)
        return Group(members, reason, beside)

    def _proof(self, node: int, kept: int) -> tuple[str, Evidence | None]:
        row = self.proven[pair(node, kept)]
        assert row.verdict is not None
        if row.evidence is None:
            return row.verdict, None
        evidence = Evidence.from_json(json.loads(row.evidence))
        is_query = int(self.facts.nodes[self.facts.places(np.array([row.pair.query]))[0]]) == node
        return row.verdict, evidence if is_query else turned_around(evidence)

    def _is_finer(self, node: int, kept: int, evidence: Evidence | None) -> bool:
        """Whether what both show has more pixels in a node than in the one that is kept."""
        if evidence is None:
            return False
        ours, theirs = (int(self.facts.pixels[one]) for one in (node, kept))
        return theirs * evidence.hit_overlap < FINE * ours * evidence.query_overlap

    def _beside(self, node: int, member: int, rows: Mapping[int, Row], ids: Mapping[int, list[int]]) -> Beside:
        image = int(self.facts.ids[node])
        return Beside(image, rows[image]["image_path"], ids[member][0] if ids[member] else int(self.facts.ids[member]))

    def _reason(self, group: Nodes, dated: bool) -> str:
        """Why the best node of a group is better than the next one, in words."""
        facts, best, others = self.facts, group.kept, (*group.proven, *group.similar)
        if not others:
            return "the oldest of equal files" if dated else "the first of equal files in the job"
        pixels = max(int(facts.pixels[other]) for other in others)
        if facts.pixels[best] > pixels:
            return "most pixels"
        even = [other for other in others if facts.pixels[other] == facts.pixels[best]]
        known = "as many pixels as the next one" if facts.pixels[best] else "the pixels are not known"
        even = [other for other in even if self.grey[other] == self.grey[best]]
        if not even:
            return f"{known}, and in colour"
        if facts.bytes[best] > max(int(facts.bytes[other]) for other in even):
            return f"{known}, and more bytes"
        even = [other for other in even if facts.bytes[other] == facts.bytes[best]]
        if self.sharpness[best] > max(float(self.sharpness[other]) for other in even):
            return "as many pixels and bytes as the next one, and sharper"
        is_known = bool(facts.pixels[best] or facts.bytes[best])
        if facts.lossless[best] and not all(facts.lossless[other] for other in even):
            return f"{'as many pixels and bytes as the next one, and ' * is_known}a format that keeps every pixel"
        if not is_known:
            return "the first in the job, which knows nothing else of its images"
        return "the first of equally good ones in the job"


def _member(
    row: Row,
    verdict: str | None = None,
    similarity: float | None = None,
    evidence: Evidence | None = None,
    is_finer: bool = False,
) -> Member:
    size = row["width"], row["height"], row["bytes"]
    return Member(row["id"], row["image_path"], *size, verdict, similarity, evidence, is_finer)


def _oldest_first(ids: Sequence[int], rows: Mapping[int, Row]) -> tuple[list[int], bool]:
    """Images of the same bytes with the oldest file first, and whether the dates of all files are known.

    Where they are not, as for those in archives, the order is that of the ids.
    """
    if not 1 < len(ids) <= _MOST_DATES:
        return list(ids), False
    dates = {}
    for image in ids:
        path = rows[image]["image_path"]
        if is_url(path) or split_member(path):
            return list(ids), False
        try:
            dates[image] = os.stat(to_os_path(path)).st_mtime_ns
        except OSError:
            return list(ids), False
    return sorted(ids, key=lambda image: (dates[image], image)), min(dates.values()) < max(dates.values())
