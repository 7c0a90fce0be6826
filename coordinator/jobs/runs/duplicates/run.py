"""A run of `duplicates`: find the images of a job that show the same, and group them."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import numpy as np

from coordinator.jobs.runs.duplicates.candidates import Candidates, candidates_of
from coordinator.jobs.runs.duplicates.comparing import Comparisons
from coordinator.jobs.runs.duplicates.facts import Facts, Places, read_facts
from coordinator.jobs.runs.duplicates.found import BYTES, KINDS, LIKE, PICTURE, PIXELS, Found
from coordinator.jobs.runs.duplicates.grouping import Nodes, Pair, add_similar, pair, settled
from coordinator.jobs.runs.duplicates.members import Members
from coordinator.jobs.runs.duplicates.neighbouring import Workers, find_neighbours, forget
from coordinator.jobs.runs.events import Tell
from shared.errors import UsageError
from shared.job.bundle.facts import refuse_bundle
from shared.job.index import builds
from shared.job.index.duplicates.neighbours import LEAST, Neighbours
from shared.job.index.duplicates.rejected import read_rejected
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.job.partition.committed import require_embedded
from shared.job.partition.ledger import Seal
from shared.messages.verdicts import SAME_PIXELS
from shared.settings import Settings

SIMILARITY: Final = 0.95
"""The cosine similarity from which on images count as similar, unless another one is asked for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What `duplicates` is asked to do: to find groups of a `kind`, None for the best that can be had.

    `similarity` is the least cosine of what is grouped as similar, or of what is compared for the other kinds.
    `workers` gives the workers of a role, once something is missing that they have to find out.
    """

    job: OpenJob
    settings: Settings
    kind: str | None = None
    similarity: float | None = None
    workers: Callable[[ExitStack, OpenJob, Settings, str], Workers] = Workers


def duplicates(asked: Asked, tell: Tell) -> Found:
    """Group the images of a job that show the same, and continue where an earlier call stood.

    It may be ended at any moment: the workers end, what is committed stays. The same job gives the same groups,
    whoever worked on it. Raises UsageError for a kind that can't be had of this job, NoIndexYet where there is no index
    to ask, CorruptFile as `sealed`, and as `until_done` does.
    """
    job, kind = asked.job, _kind(asked)
    seals = list(ledger.sealed(job))
    if kind != BYTES:
        builds.require_promoted(job)
    facts = read_facts(job, seals)
    if kind == BYTES and len(facts.ids) and not facts.hashed.any():
        raise UsageError(
            f"{job.path} has the SHA-256 of no image, as its vectors came without: equal bytes can't be found in it. "
            f"Ask for the kind {LIKE}."
        )
    rejected = read_rejected(job)
    notes = _left_out(job, seals, facts, kind)
    none = Comparisons(job, facts)
    if kind == BYTES:
        near, nodes, compared = _none(), list[Nodes](), none
    else:
        least = asked.similarity if asked.similarity is not None else SIMILARITY if kind == LIKE else LEAST
        found = find_neighbours(job, asked.settings, seals, facts, tell, asked.workers)
        if kind == LIKE:
            ranks = facts.ranks(none.sharpness, none.grey)
            near, compared = candidates_of(facts, found(), ranks, least), none
            nodes = add_similar([], near.lower, near.upper, near.similarities, ranks, _of_nodes(facts, rejected))
        else:
            near, nodes, compared = _proven(asked, facts, found, kind, least, rejected, tell)
            if compared.unread:
                notes.append(_unread(compared))
    nodes += _equal(facts, nodes)
    members = Members(job, facts, compared.sharpness, compared.grey, compared.proven, near, rejected)
    similarity = None if kind == BYTES else least
    return Found(str(job.path), kind, similarity, int(np.count_nonzero(facts.live)), members.groups(nodes), notes)


def _kind(asked: Asked) -> str:
    job, kind = asked.job, asked.kind
    refuse_bundle(job.path, job.manifest.bundle, "searched for duplicates")
    if kind is not None and kind not in KINDS:
        raise UsageError(f"There is no kind {kind!r} of duplicates; expected one of {', '.join(KINDS)}.")
    if asked.similarity is not None:
        if kind == BYTES:
            raise UsageError("Equal bytes have no similarity: leave it out, or ask for another kind.")
        if not LEAST <= asked.similarity <= 1:
            raise UsageError(
                f"The similarity {asked.similarity:g} is none that neighbours are kept for: it is from {LEAST:g} to 1."
            )
    require_embedded(job)
    if job.manifest.model.is_imported:
        if kind in (PIXELS, PICTURE):
            raise UsageError(
                f"{job.path} was made of vectors, and has no images to be compared: ask for the kind {LIKE}, which "
                f"proves nothing, or for {BYTES} where the vectors came with the SHA-256 of their images."
            )
        return kind or LIKE
    return kind or PICTURE


def _left_out(job: OpenJob, seals: Sequence[Seal], facts: Facts, kind: str) -> list[str]:
    """Sentences about the images that are not looked at."""
    notes = []
    waiting = sum(len(one) for one in job.partitions) - sum(seal.listed for seal in seals)
    if waiting:
        notes.append(f"{waiting:,} images are in partitions that are not sealed yet, and are not looked at.")
    if failed := sum(seal.failed for seal in seals):
        notes.append(f"{_images(failed)} could not be embedded, and {_is(failed)} not looked at.")
    unhashed = int(np.count_nonzero(facts.live & ~facts.hashed))
    if unhashed and kind in (BYTES, LIKE):
        notes.append(f"Of {_images(unhashed)} the job has no SHA-256: equal bytes are not known of {_them(unhashed)}.")
    if kind == LIKE:
        notes.append("Similar is no proof: these are groups by embeddings alone, and no image was read for them.")
    return notes


def _proven(
    asked: Asked,
    facts: Facts,
    found: Callable[[], Iterable[Neighbours]],
    kind: str,
    least: float,
    rejected: set[Pair],
    tell: Tell,
) -> tuple[Candidates, list[Nodes], Comparisons]:
    """The groups of what is proven to show the same, once all is compared that has to be for them."""
    compared, refused = Comparisons(asked.job, facts, pixels_alone=kind == PIXELS), _of_nodes(facts, rejected)
    compared.read()
    forget(compared.damaged, "comparisons", tell)
    near = candidates_of(facts, found(), facts.ranks(compared.sharpness, compared.grey), least)
    missing = compared.missing(zip(near.lower.tolist(), near.upper.tolist(), strict=True), refused)
    with ExitStack() as stack:
        workers = None
        while True:
            ranks = facts.ranks(compared.sharpness, compared.grey)
            if not missing:
                groups = settled(_known(compared, kind), ranks.tolist().__getitem__, refused)
                if not (missing := groups.wanted):
                    compared.tidy()
                    return near, groups.groups, compared
            if workers is None:
                workers = asked.workers(stack, asked.job, asked.settings, "embed")
            workers.do(compared.work(missing, ranks), tell)
            compared.read()
            missing = []


def _known(compared: Comparisons, kind: str) -> dict[Pair, bool]:
    known = compared.known()
    if kind == PIXELS:
        known |= {one: row.verdict == SAME_PIXELS for one, row in compared.proven.items()}
    return known


def _of_nodes(facts: Facts, rejected: set[Pair]) -> set[Pair]:
    """The rejected pairs of images as pairs of the nodes that stand for them."""
    if not rejected:
        return set()
    places = facts.places(np.array(sorted(rejected), np.int64).reshape(-1)).reshape(-1, 2)
    nodes = facts.nodes[places[(places >= 0).all(axis=1)]].tolist()
    return {pair(one, other) for one, other in nodes if one != other}


def _equal(facts: Facts, nodes: Sequence[Nodes]) -> list[Nodes]:
    """A group for each node of several images of the same bytes that is in none."""
    taken = {node for group in nodes for node in (group.kept, *group.proven, *group.similar)}
    found, counts = np.unique(facts.nodes[facts.live], return_counts=True)
    return [Nodes(node) for node in found[counts > 1].tolist() if node not in taken]


def _none() -> Candidates:
    nothing: Places = np.empty(0, np.int64)
    return Candidates(nothing, nothing, np.empty(0, np.float32))


def _unread(compared: Comparisons) -> str:
    count, reason = len(compared.unread), next(iter(compared.unread.values()))
    pairs = "1 pair" if count == 1 else f"{count:,} pairs"
    return f"{pairs} could not be compared, as an image can't be read as it was embedded; the first: {reason}"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _them(count: int) -> str:
    return "it" if count == 1 else "them"
