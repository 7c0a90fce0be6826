"""Whether the images of a chunk are those that were listed, before those that failed are written down as lost."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final

from shared.errors import ImageError, SourceError
from shared.errors.remedy import Remedy
from shared.images import image_parquet
from shared.images.location import Location, read_bytes, suffix_of
from shared.images.paths import is_url, split_member, to_os_path
from shared.job.manifest import Chunk
from shared.job.opened import OpenJob
from shared.job.partition import checkpoint, ledger
from shared.job.partition.checkpoint import ImageRow
from shared.job.partition.retry import read_retry
from shared.job.source.files import FileState, difference, state_of
from shared.job.source.moved import NOT_MOVED, Moved
from workers.images.reach import away

# What becomes of images whose files are not, or not yet, there again.
_LOST: Final = ("vanished", "truncated")
_MANY: Final = 20
_LARGE_SHARE: Final = 0.2
_FAR_ABOVE: Final = 10
_HALF: Final = 0.5
_SEALS_ASKED: Final = 20
_GOES_ON: Final = "the same {} goes on where it stands"


class SourceCheck:
    """Compares what a chunk's rows were read from with what the job knows of its source."""

    def __init__(self, job: OpenJob, moved: Moved = NOT_MOVED) -> None:
        """`moved` is where the rows were read, if that is not where they were listed."""
        self._job, self._moved = job, moved

    @cached_property
    def _states(self) -> dict[str, FileState]:
        return self._job.archives()

    def require(self, chunk: Chunk, rows: Sequence[ImageRow], location: Callable[[int], Location]) -> None:
        """Raise SourceError when `rows` must not be committed as they are.

        That is when an archive in which some of them failed is not the one that was listed; when a Parquet file is not,
        whose rows have no names, whether they failed or not; and, unless somebody has said that this is right, when
        many more are lost than before, and when all failed and none of the job was embedded before. `location` says
        where an image of an id is.
        """
        failed: dict[str, list[ImageRow]] = {}
        loose: list[ImageRow] = []  # Lost, and in no archive that is known to be the listed one.
        for row in rows:
            inside = split_member(row.image_path) if "::" in row.image_path else None
            known = inside is not None and inside[0] in self._states
            if inside is not None and known:
                bad = row.status != "ok"
                if bad or suffix_of(inside[0]) == ".parquet":
                    failed.setdefault(inside[0], []).extend([row] if bad else [])
            elif row.status in _LOST:
                loose.append(row)
        for archive, bad_rows in failed.items():
            self._require_archive(archive, bad_rows, location)
        if len(loose) >= _MANY and not self._is_accepted():
            self._require_share(chunk, rows, loose)
        if len(chunk) == len(rows) >= _MANY and all(row.status != "ok" for row in rows) and not self._is_accepted():
            self._require_any(chunk.partition, rows)

    def _is_accepted(self) -> bool:
        return self._job.accepted_failures.is_file()

    def _require_archive(self, archive: str, bad: list[ImageRow], location: Callable[[int], Location]) -> None:
        listed = self._states[archive]
        archive = self._moved.now(archive)
        is_parquet = suffix_of(archive) == ".parquet"
        if bad and not is_url(archive) and not os.path.isfile(to_os_path(archive)):
            raise away(archive)
        if self._is_accepted() and not is_parquet:
            return  # What can be read of it has its own name and size in it; rows of a Parquet file have neither.
        reason = difference(archive, listed)
        vanished = next((row for row in bad if row.status == "vanished" and location(row.id).member is not None), None)
        if reason is None and vanished is not None:
            # When it was listed, a header lay there.
            if _is_readable(location(vanished.id), self._job.manifest.max_image_bytes):
                raise SourceError(f"{archive} was out of reach for a moment and is back: its chunk is embedded again.")
            now = state_of(archive, digest=False)
            if now is not None and now.mtime_ns != listed.mtime_ns:
                reason = f"it was written to since it was listed ({vanished.error_message})"
        if reason is None:
            return
        image_parquet.forget(archive)
        accepted = _accepted("{} goes on with what can be read of it, if it changed for good")
        raise SourceError(
            f"The archive {archive} is not the one that was listed: {reason}. Put that one back, or wait until its "
            "copy is complete; nothing of it was written down as lost. If it changed for good, make a new job of it.",
            remedy=self._goes_on(None if is_parquet else accepted),
        )

    def _require_share(self, chunk: Chunk, rows: Sequence[ImageRow], lost: list[ImageRow]) -> None:
        share = len(lost) / len(rows)
        if share <= _LARGE_SHARE:
            return
        embedded, failed = self._before(chunk)
        before = failed / (embedded + failed) if embedded + failed else None
        # The listing saw the files of a folder; whoever wrote a list may not have looked.
        if self._job.source_of(lost[0].id).kind not in ("folder", "glob") and not _is_far_above(before, share, rows):
            return
        self._take_back_the_edge(chunk)
        such_as = self._moved.now(lost[0].image_path)
        said = "nothing was read before" if before is None else f"{before:.1%} of those before"
        raise SourceError(
            f"{len(lost):,} of {len(rows):,} images of one chunk are not there, or not whole ({said}), such as "
            f"{such_as}: {lost[0].error_message} Put them back, or wait until they are copied. "
            "Nothing was written down as lost.",
            remedy=self._goes_on(_accepted("if they are gone for good, {} makes failed rows of them")),
        )

    def _require_any(self, partition: int, rows: Sequence[ImageRow]) -> None:
        """Raise SourceError for a whole chunk of failed `rows`, unless an image of the job is embedded already.

        The column of a list that holds no images, or a folder of something else, would fail to its last file.
        """
        # What a retry tries again has been written down as failed before, and its good images are kept elsewhere.
        is_retried = read_retry(self._job, partition) is not None or self._job.retry_chunk_numbers(partition)
        if is_retried or self._is_anything_embedded():
            return
        counts = Counter(row.status for row in rows)
        statuses = ", ".join(f"{count:,} {status}" for status, count in counts.most_common())
        first = next(row for row in rows if row.status == counts.most_common(1)[0][0])
        raise SourceError(
            f"All {len(rows):,} images of one chunk failed, and none was embedded before ({statuses}), such as "
            f"{first.image_path}: {first.error_message} Nothing was written down as failed. If the source names "
            "something else than images, as another column of a list would, make a new job from the right one.",
            remedy=_accepted("if these are the images, {} makes failed rows of them"),
        )

    def _goes_on(self, otherwise: Remedy | None) -> Remedy:
        return Remedy("index", str(self._job.path), _GOES_ON, otherwise=otherwise)

    def _is_anything_embedded(self) -> bool:
        if any(ledger.read_seal(self._job, number).embedded for number in self._job.sealed()):
            return True
        return any(
            checkpoint.chunk_summary(self._job, partition.number, number).embedded
            for partition in self._job.partitions
            for number in self._job.chunk_numbers(partition.number)
        )

    def _take_back_the_edge(self, chunk: Chunk) -> None:
        """Take back the chunk before, where it ends with a lost image: what is missing now began to be there."""
        if chunk.number not in (numbers := self._job.chunk_numbers(chunk.partition)) and chunk.number - 1 in numbers:
            edge = self._job.chunks(self._job.partition(chunk.partition))[chunk.number - 1]
            if checkpoint.read_chunk(self._job, edge)[0]["status"][-1].as_py() in _LOST:
                checkpoint.uncommit_chunk(self._job, edge)

    def _before(self, chunk: Chunk) -> tuple[int, int]:
        """Images embedded and failed in what is committed of the partition; without that, in some sealed ones."""
        numbers = self._job.chunk_numbers(chunk.partition)
        found = [checkpoint.chunk_summary(self._job, chunk.partition, number) for number in numbers]
        counts = [(summary.embedded, summary.failed) for summary in found]
        if not counts:
            seals = [ledger.read_seal(self._job, number) for number in self._job.sealed()[-_SEALS_ASKED:]]
            counts = [(seal.embedded, seal.failed) for seal in seals]
        return sum(embedded for embedded, _ in counts), sum(failed for _, failed in counts)


def _accepted(does: str) -> Remedy:
    return Remedy("option", does=does, given={"accept_failures": ""})


def _is_far_above(before: float | None, share: float, rows: Sequence[ImageRow]) -> bool:
    """Whether a share of lost images is far above what went before, None where nothing did."""
    if before is None:
        return all(row.status == "vanished" for row in rows)
    return before * _FAR_ABOVE < share or (share == 1 and before < _HALF)


def _is_readable(location: Location, max_bytes: int) -> bool:
    try:
        read_bytes(location.place, max_bytes, location.member)
    except ImageError:
        return False
    return True
