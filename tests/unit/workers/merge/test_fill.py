from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shared.job.index import builds
from shared.processes.control import Control, Stopped
from tests.support.controls import UNWATCHED, yes
from tests.support.make_job import clustered
from workers.merge.fill import SAVE_SECONDS, filled, train_rows
from workers.merge.progress import MergeProgress
from workers.vectors.ann import faiss_index, training
from workers.vectors.ann.plan import IndexPlan
from workers.vectors.embeddings import StoredEmbeddings

pytestmark = pytest.mark.slow

N, D = 5_000, 24


@pytest.fixture(scope="module")
def stored() -> StoredEmbeddings:
    half = clustered(N, D).astype(np.float16)
    return StoredEmbeddings([half[:2_000], half[2_000:]], np.arange(N) * 3, D)


PLANS = ("PCAR16,IVF32,PQ4x4fs", "IDMap2,Flat", "IDMap2,PCAR16,HNSW8_SQ8")


def plan_of(factory: str) -> IndexPlan:
    return faiss_index.plan_from_factory(factory, N, D)


class Ending:
    """Ends the filling when so much of a phase is done, and notes what was reported."""

    def __init__(self, phase: str = "", share: float = 2.0) -> None:
        self.phase, self.share = phase, share
        self.told: list[MergeProgress] = []
        self.control = Control(self.keep_going, yes, self.told.append)

    def keep_going(self) -> bool:
        return not any(told.phase == self.phase and told.share >= self.share for told in self.told)


def fill(directory: Path, plan: IndexPlan, stored: StoredEmbeddings, ending: Ending | None = None) -> Any:
    directory.mkdir(exist_ok=True)
    return filled(directory, plan, stored, np.arange(0, N, 50), 0, ending.control if ending else UNWATCHED, {})


@pytest.fixture
def saving_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 700 rows, each of which takes as long as it takes until the next is saved."""
    clock = [0.0]
    add = faiss_index.add

    def slowly(*arguments: Any) -> None:
        add(*arguments)
        clock[0] += SAVE_SECONDS

    monkeypatch.setattr(faiss_index, "add", slowly)
    monkeypatch.setattr("workers.merge.fill.time", SimpleNamespace(monotonic=lambda: clock[0]))
    blocks = StoredEmbeddings.blocks
    monkeypatch.setattr(StoredEmbeddings, "blocks", lambda self, size=700, begin=0: blocks(self, 700, begin))


@pytest.mark.usefixtures("saving_each_block")
@pytest.mark.parametrize("factory", PLANS[:2])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_filling_that_was_ended_goes_on_where_it_was_saved_and_ends_with_the_same_bytes(
    tmp_path: Path, stored: StoredEmbeddings, factory: str, share: float
) -> None:
    plan = plan_of(factory)
    fill(tmp_path / "undisturbed", plan, stored)
    with pytest.raises(Stopped):
        fill(tmp_path / "ended", plan, stored, Ending("adding", share))
    assert not (tmp_path / "ended" / builds.INDEX_FILE).exists()
    again = Ending()
    fill(tmp_path / "ended", plan, stored, again)
    adding = [told.share for told in again.told if told.phase == "adding"]
    assert adding[0] >= share - 0.3
    # It is trained.
    assert [told for told in again.told if told.phase == "training"] == [MergeProgress("training", 1.0)]
    one, two = ((tmp_path / name / builds.INDEX_FILE).read_bytes() for name in ("undisturbed", "ended"))
    assert one == two


def test_what_is_whole_is_not_filled_again(
    tmp_path: Path, stored: StoredEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(PLANS[0])
    fill(tmp_path / "build", plan, stored)
    monkeypatch.setattr(training, "train", None)
    monkeypatch.setattr(faiss_index, "add", None)
    again = fill(tmp_path / "build", plan, stored)
    assert again.ntotal == N


@pytest.mark.parametrize("name", [builds.FILLING_FILE, builds.INDEX_FILE])
def test_what_was_left_cut_short_is_made_anew(tmp_path: Path, stored: StoredEmbeddings, name: str) -> None:
    plan = plan_of(PLANS[0])
    fill(tmp_path / "build", plan, stored)
    path = tmp_path / "build" / name
    content = (tmp_path / "build" / builds.INDEX_FILE).read_bytes()
    (tmp_path / "build" / builds.INDEX_FILE).unlink()
    path.write_bytes(content[: len(content) // 2])
    fill(tmp_path / "build", plan, stored)
    assert (tmp_path / "build" / builds.INDEX_FILE).read_bytes() == content


def test_an_index_of_a_graph_is_filled_in_pieces_too(tmp_path: Path, stored: StoredEmbeddings) -> None:
    made = fill(tmp_path / "build", plan_of(PLANS[2]), stored)
    found = faiss_index.candidates(made, clustered(N, D)[:50], 10, 64)
    assert np.mean(found[:, 0] == np.arange(50) * 3) > 0.95


def test_an_index_is_trained_on_rows_of_all_partitions_and_on_none_that_it_is_measured_by(
    stored: StoredEmbeddings,
) -> None:
    held_out = np.arange(0, N, 3)
    rows = train_rows(stored, 1_000, held_out, seed=1)
    assert len(np.unique(rows)) == 1_000
    assert np.all(np.diff(rows) > 0)
    assert not np.isin(rows, held_out).any()
    assert 300 < np.count_nonzero(rows < 2_000) < 500
    assert np.array_equal(rows, train_rows(stored, 1_000, held_out, seed=1))
    assert not np.array_equal(rows, train_rows(stored, 1_000, held_out, seed=2))
    assert len(train_rows(stored, N, held_out, seed=1)) == N - len(held_out)
    assert len(train_rows(stored, N, np.arange(4_000), seed=1)) == N  # A small job has none to spare.


def test_progress_of_training_and_adding_rises(tmp_path: Path, stored: StoredEmbeddings) -> None:
    ending = Ending()
    fill(tmp_path / "build", plan_of(PLANS[0]), stored, ending)
    for phase in ("training", "adding"):
        shares = [told.share for told in ending.told if told.phase == phase]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0.0, 1.0)
