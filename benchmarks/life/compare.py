"""Compare the job whose commands are killed with the undisturbed one, and with a job made at once of what is left."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared.job import path_list
from shared.job.changes.log import read_changes
from shared.job.changes.state import State, state_of
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.opened import OpenJob, open_job
from shared.job.source.moved import read_moved
from shared.messages.search import Hit
from shared.storage import files
from workers.search.pool import SearcherPool

QUERIES: Final = 20
K: Final = 10
# Embeddings of one image made in other batches differ in their last bits, and so do the cosines of such.
_CLOSE: Final = 2e-3
_FOLDERS: Final = ("paths", "img_emb", "metadata", "errors", "features")

Sums = Mapping[str, str]


def left(job: OpenJob) -> dict[int, str]:
    """The images of a job that were not removed, where each is now, by id; failed ones are among them."""
    moved = read_moved(job)
    found: dict[int, str] = {}
    for partition in job.partitions:
        paths = path_list.read_paths(job, partition)
        found |= {int(image): moved.now(paths[image - partition.start]) for image in job.kept(partition)}
    return found


Known = tuple[int, frozenset[int]]
"""How many images a job has listed, and which of them were removed."""


def state(job: JobDir) -> Known:
    """What a job knows of its images now."""
    return _known(open_job(job).state)


def states_from(job: JobDir, number: int) -> list[Known]:
    """What a job knew of its images after its change `number`, 0 for none, and after each that came then.

    A refresh commits one change for each source.
    """
    opened = open_job(job)
    changes = read_changes(opened)
    upto = range(number, opened.state.number + 1)
    return [_known(state_of(opened, opened.manifest, [one for one in changes if one.number <= last])) for last in upto]


def _known(state: State) -> Known:
    return state.listed, frozenset(state.removed.tolist())


def differences(job: JobDir, undisturbed: JobDir, held: Collection[str]) -> list[str]:
    """What is not the same in two jobs to which the same has happened, and what they hold that they should not."""
    opened, other = open_job(job), open_job(undisturbed)
    said = []
    if opened.partitions != other.partitions:
        said.append(f"The partitions are {opened.partitions}, undisturbed {other.partitions}.")
    paths = left(opened)
    if paths != left(other):
        said.append("The ids and paths that are left are not those of the undisturbed job.")
    if sorted(paths.values()) != sorted(held):
        missing, more = sorted(set(held) - set(paths.values())), sorted(set(paths.values()) - set(held))
        said.append(f"The job lacks {missing[:3]}, holds {more[:3]} that it should not, {len(paths)} in all.")
    found, expected = _sums(opened), _sums(other)
    names = sorted(found.keys() | expected.keys())
    said += [f"{name} is not as undisturbed." for name in names if found.get(name) != expected.get(name)]
    return said


def _sums(job: OpenJob) -> Sums:
    """SHA-256 of the path lists and sealed files by name, and what the promoted index covers."""
    found = {
        str(path.relative_to(job.path)): files.sha256_of(path)
        for folder in _FOLDERS
        for path in sorted((job.path / folder).glob("*"))
    }
    info = builds.current_info(job)
    return found | {} if info is None else found | {"index": info.ledger_digest, "images": str(info.ntotal)}


def answers(pool: SearcherPool, job: JobDir, vectors: npt.NDArray[np.float32]) -> list[list[Hit]]:
    """The hits of queries, float32 [q, d]."""
    return pool.searcher(job).search_many(vectors, K)


def some_vectors(pool: SearcherPool, job: JobDir, seed: int) -> npt.NDArray[np.float32]:
    """Embeddings of a few images that can be found, float32 [q, d]."""
    kept = pool.searcher(job).kept
    rows = np.random.default_rng(seed).choice(len(kept), min(QUERIES, len(kept)), replace=False)
    return kept.rows(np.sort(rows)).astype(np.float32)


def other_answers(found: Sequence[Sequence[Hit]], expected: Sequence[Sequence[Hit]]) -> list[str]:
    """What differs between the answers of two jobs that made their embeddings in other batches: paths, cosines."""
    said: list[str] = []
    for number, (some, others) in enumerate(zip(found, expected, strict=True)):
        cosines, theirs = (np.array([hit.similarity for hit in hits]) for hits in (some, others))
        if len(some) != len(others) or np.abs(cosines - theirs).max(initial=0) > _CLOSE:
            said.append(f"Query {number} has the similarities {cosines}, made at once {theirs}.")
            continue
        last = theirs.min(initial=1.0) + _CLOSE  # Those that are as near as the last may be others.
        sure = [{hit.image_path for hit in hits if hit.similarity > last} for hits in (some, others)]
        all_of = [{hit.image_path for hit in hits} for hits in (some, others)]
        if not (sure[0] <= all_of[1] and sure[1] <= all_of[0]):
            said.append(f"Query {number} finds {sorted(all_of[0])}, made at once {sorted(all_of[1])}.")
    return said


def hits_of_none(found: Sequence[Sequence[Hit]], allowed: Collection[int]) -> list[str]:
    """Hits of images that the job does not hold."""
    wrong: list[Any] = [hit for hits in found for hit in hits if hit.id not in allowed]
    return [f"{len(wrong)} hits are of images that were removed or never there, such as {wrong[0]}."] if wrong else []
