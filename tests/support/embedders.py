"""Embedders without a model behind them, and partitions embedded by them."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from shared.job.directory import JobDir
from shared.job.manifest import Manifest
from shared.job.opened import OpenJob
from shared.job.partition.ledger import Seal
from shared.processes.control import Control
from tests.support.make_job import model_spec
from workers.embed.partition import PartitionProgress, embed_partition

SIZE, DIM, BATCH = 8, 12, 4


class FakeEmbedder:
    """An embedding made of an image's mean colours in twelve fields: the same for the same pixels, in any batch."""

    fingerprint, dim, image_size, batch_size = model_spec(dim=DIM).fingerprint, DIM, SIZE, BATCH

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (SIZE, SIZE, 3)
        assert 1 <= len(images) <= BATCH
        self.batches.append(len(images))
        fields = images.reshape(len(images), 2, SIZE // 2, 2, SIZE // 2, 3).mean(axis=(2, 4)).reshape(-1, DIM) + 1
        return (fields / np.linalg.norm(fields, axis=1, keepdims=True)).astype(np.float32)


class AnyModel(FakeEmbedder):
    """Whatever model the job is for."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__()
        self.fingerprint = manifest.model.fingerprint


def yes() -> bool:
    """What is asked may be done, always."""
    return True


def no_after(times: int) -> Callable[[], bool]:
    """A question that is answered yes so many times, then no."""
    asked = iter(range(times))
    return lambda: next(asked, None) is not None


def embed(
    job: OpenJob,
    number: int = 0,
    *,
    embedder: FakeEmbedder | None = None,
    keep_going: Callable[[], bool] = yes,
    may_commit: Callable[[], bool] = yes,
    report: Callable[[PartitionProgress], None] = lambda progress: None,
    threads: int = 2,
) -> Seal:
    """Embed one partition of a job and seal it, by a fake embedder unless one is given."""
    return embed_partition(
        job,
        job.partition(number),
        embedder or FakeEmbedder(),
        Control(keep_going, may_commit, report),
        threads,
    )


def sealed_bytes(job: JobDir) -> list[bytes]:
    """The bytes of every sealed file of a job, in order."""
    return [path.read_bytes() for number in job.sealed_numbers() for path in job.sealed_files(number)]
