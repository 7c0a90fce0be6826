"""Ten rounds of a job that grows and forgets, each killed on its way: it ends as if nothing had been killed."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from coordinator.jobs.changes.compacting.plan import Bounds
from coordinator.jobs.changes.compaction import compact
from coordinator.jobs.changes.refresh import add_source, refresh
from coordinator.jobs.changes.removal import Asked, remove
from coordinator.sources.choosing import EVERYTHING
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.settings import Settings
from tests.support.changed_jobs import embedded, held, wrong
from tests.support.controls import UNWATCHED
from tests.support.images.tiles import tile
from tests.support.kills import Killed, killed_at
from tests.support.source_jobs import sealed
from workers.merge.build import merge
from workers.search.searcher import Searcher

ROUNDS = 10
pytestmark = pytest.mark.slow

Act = Callable[[JobDir], object]


class Collection:
    """Photos in two folders that come, change and go, the second from the third round on."""

    def __init__(self, root: Path) -> None:
        self.first, self.second, self.number = root / "photos", root / "more photos", 0
        self.deleted: set[str] = set()
        for _ in range(24):
            self.new(self.first)

    def new(self, folder: Path) -> None:
        self.number += 1
        tile(folder / f"{self.number:03d}.png", self.number)

    @property
    def folders(self) -> list[Path]:
        return [self.first, self.second] if self.second.exists() else [self.first]

    def there(self) -> list[Path]:
        """The photos that were not deleted."""
        paths = (path for folder in self.folders for path in sorted(folder.iterdir()))
        return [path for path in paths if str(path) not in self.deleted]

    def change(self, rng: random.Random) -> None:
        gone, changed = rng.sample(self.there(), 2)
        gone.unlink()
        self.number += 1
        tile(changed, self.number)
        for _ in range(3):
            self.new(rng.choice(self.folders))

    def acts(self, turn: int, rng: random.Random) -> list[Act]:
        """What is done in a round, in order; each may be tried again after a kill."""
        acts: list[Act] = []
        if turn == 2:
            for _ in range(6):
                self.new(self.second)
            acts.append(lambda job: add_source(str(self.second), job, EVERYTHING, lambda count: None))
        else:
            self.change(rng)
            acts += [partial(refreshed, number=number) for number in range(len(self.folders))]
        if turn % 3 == 1:
            path = str(rng.choice(self.there()))
            self.deleted.add(path)
            acts.append(lambda job: remove(job, Asked(images=[path]), lambda event: None))
        if turn % 4 == 3:
            acts.append(lambda job: compact(job, Bounds(), lambda event: None))
        return acts


def refreshed(job: JobDir, number: int) -> None:
    refresh(None, job, lambda count: None, number=number)


def known(job: JobDir) -> tuple[int, list[int]]:
    opened = open_job(job)
    return opened.listed, opened.state.removed.tolist()


def answers(job: JobDir, vectors: np.ndarray) -> list[list[tuple[str, float]]]:
    merge(open_job(job), Settings(), UNWATCHED)
    build = builds.current_build(job)
    assert build is not None
    found = Searcher.open(JobFiles.of(job), build).search_many(vectors, 5)
    return [[(hit.image_path, round(hit.similarity, 3)) for hit in hits] for hits in found]


def struck(job: JobDir, act: Act, undisturbed: JobDir, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Do an act to the undisturbed job, then to the other, killed on the way; whether it was."""
    before = known(undisturbed)
    act(undisturbed)
    after = known(undisturbed)
    try:
        with killed_at(rng.randrange(9), monkeypatch):
            act(job)
    except Killed:
        assert known(job) in (before, after)
        if before == after or known(job) == before:  # Who asked for what has happened would be told so.
            act(job)
        return True
    return False


def test_ten_rounds_with_kills_end_as_without_and_as_a_job_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, photos, kills = random.Random(4), Collection(tmp_path), 0
    quiet, job = (sealed(str(photos.first), JobDir(tmp_path / name)) for name in ("quiet", "job"))
    for turn in range(ROUNDS):
        for act in photos.acts(turn, rng):
            kills += struck(job, act, quiet, rng, monkeypatch)
            embedded(quiet)
            embedded(job)
            assert known(job) == known(quiet)
            assert held(job) == held(quiet)
        assert sorted(held(job)) == sorted(map(str, photos.there()))
    assert kills >= ROUNDS
    assert wrong(job) == []
    at_once = made_at_once(photos, tmp_path)
    assert held(at_once) == held(job)
    vectors = np.stack([np.frombuffer(row, np.float16).astype(np.float32) for row in held(job).values()])
    assert answers(job, vectors) == answers(quiet, vectors) == answers(at_once, vectors)


def made_at_once(photos: Collection, tmp_path: Path) -> OpenJob:
    listed = tmp_path / "left.txt"
    listed.write_text("".join(f"{path}\n" for path in photos.there()))
    return sealed(str(listed), JobDir(tmp_path / "at once"))
