"""Take a seal back so that failed images are tried again, while its other rows are kept."""

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from shared.errors import CorruptFile
from shared.errors.remedy import Remedy
from shared.job.directory import JobDir
from shared.job.manifest import Chunk
from shared.job.partition.ledger import Seal
from shared.storage import files


@dataclass(frozen=True, slots=True)
class Retry:
    """What was sealed, by its `seal`; the ids of the images to try `again`; those that `failed` and stay as they are.

    It counts where the partition has no seal: beside one it was left over by a kill.
    """

    seal: Seal
    again: frozenset[int]
    failed: frozenset[int]

    def kept(self, chunks: Sequence[Chunk]) -> tuple[int, int]:
        """How many embedded and how many failed rows of these chunks are kept."""
        failed, again = _within(self.failed, chunks), _within(self.again, chunks)
        return sum(map(len, chunks)) - failed - again, failed


def _within(ids: frozenset[int], chunks: Sequence[Chunk]) -> int:
    """How many of `ids` are in these chunks."""
    ascending = sorted(ids)
    return sum(bisect_left(ascending, chunk.stop) - bisect_left(ascending, chunk.start) for chunk in chunks)


def take_back_seal(job: JobDir, retry: Retry) -> None:
    """Unseal a partition, and keep its files for the seal to come; a kill leaves the seal, or what it is kept by."""
    number = retry.seal.partition
    table = {"again": sorted(retry.again), "failed": sorted(retry.failed), "seal": asdict(retry.seal)}
    files.write_bytes(job.retry(number), (json.dumps(table, indent=2) + "\n").encode())
    job.seal(number).unlink(missing_ok=True)
    files.sync_directory(job.ledger_dir)


def read_retry(job: JobDir, partition: int) -> Retry | None:
    """The retry marker of a partition, None where there is none; CorruptFile when it is not what was written."""
    path = job.retry(partition)
    try:
        table = json.loads(files.read_marker(path))
        retry = Retry(Seal(**table["seal"]), frozenset(table["again"]), frozenset(table["failed"]))
        if retry.seal.partition != partition:
            raise ValueError(f"it is of partition {retry.seal.partition}")
        return retry
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptFile(
            f"The retry marker {path} can't be read ({error})",
            remedy=Remedy(
                "repair",
                str(job.path),
                "removes it",
                then=Remedy("index", str(job.path), "the next {} embeds its partition again"),
            ),
        ) from None
