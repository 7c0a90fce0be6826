"""Watch a round from outside, several times a second: commits, seals, leases, the promotion."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import redis

from shared.broker.lease import MERGE, holders
from shared.errors import LookalikeError
from shared.job.directory import JobDir
from shared.job.identity import known_as
from shared.job.index import builds
from shared.job.manifest import load_manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition import checkpoint


@dataclass(frozen=True, slots=True)
class Held:
    """What a worker holds (a partition number or MERGE), and since when it was seen to, in seconds since the epoch."""

    owner: str
    what: int | str
    since: float


@dataclass(slots=True)
class Watch:
    """The history of one job. `look` reads its directory, `look_at_leases` its leases; call both again and again.

    `commits` and `seals` are moments by partition, in seconds since the epoch, as the files themselves say.
    `rewritten` are committed chunks that became other files without having been damaged on purpose, `redone` counts
    those that had been, and `half_there` says of chunks that were not whole when they were first seen.
    """

    job: JobDir
    commits: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    seals: dict[int, float] = field(default_factory=dict)
    held: dict[int | str, Held] = field(default_factory=dict)
    rewritten: list[str] = field(default_factory=list)
    half_there: list[str] = field(default_factory=list)
    redone: int = 0
    merge_begun: float | None = None
    promoted: float | None = None
    _opened: OpenJob | None = None
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _damaged: set[Path] = field(default_factory=set)

    @property
    def identity(self) -> str:
        """Which job of its name it is; for when it is made."""
        return load_manifest(self.job).identity if self._opened is None else self._opened.manifest.identity

    @property
    def share(self) -> float:
        """How much of the job is committed, 0 to 1, by chunks."""
        if self._opened is None:
            return 0.0
        sealed = {number: len(self._opened.chunks(self._opened.partition(number))) for number in self.seals}
        under_way = sum(len(self.job.chunk_numbers(number)) for number in self._open_partitions())
        total = sum(len(self._opened.chunks(partition)) for partition in self._opened.partitions)
        return (sum(sealed.values()) + under_way) / total

    def look(self, now: float) -> None:
        """Read the job directory."""
        if self._opened is None:
            if not self.job.spec.is_file():
                return
            self._opened = open_job(self.job)
        for partition in self._open_partitions():
            for number in self.job.chunk_numbers(partition):
                self._look_at_chunk(partition, number)
        for number in set(self.job.sealed_numbers()) - set(self.seals):
            self.seals[number] = self.job.seal(number).stat().st_mtime
        if self.merge_begun is None and (MERGE in self.held or builds.build_names(self.job)):
            self.merge_begun = now
        if self.promoted is None and self.job.current.is_file():
            self.promoted = self.job.current.stat().st_mtime

    def look_at_leases(self, client: redis.Redis, now: float) -> None:
        """Read who holds what; while the broker is away, what was known stays so."""
        if self._opened is None:
            return  # No one can hold what is not made.
        try:
            found = holders(client, known_as(self.job.job_id, self._opened.manifest.identity))
        except redis.exceptions.RedisError:
            return
        held: dict[int | str, Held] = {}
        for holder in found:
            what = int(holder.what) if holder.what.isdigit() else holder.what
            before = self.held.get(what)
            held[what] = before if before and before.owner == holder.owner else Held(holder.owner, what, now)
        self.held = held

    def held_by(self, name: str) -> Held | None:
        """What a worker of that name (the part before the @) holds and has not finished, as far as it was seen."""
        return next(
            (held for held in self.held.values() if held.owner.partition("@")[0] == name and not self._finished(held)),
            None,
        )

    def _finished(self, held: Held) -> bool:
        return self.promoted is not None if held.what == MERGE else held.what in self.seals

    def work_at_risk(self, held: Held, now: float) -> float:
        """Seconds of work that its holder would lose now: since its last commit there, or since it took the lease."""
        commits = self.commits.get(held.what, []) if isinstance(held.what, int) else []
        return max(0.0, now - max([held.since, *(moment for moment in commits if moment <= now)]))

    def chunks_under_way(self) -> list[Path]:
        """The committed chunks of partitions that are not sealed."""
        return [
            self.job.chunk(partition, number)
            for partition in self._open_partitions()
            for number in self.job.chunk_numbers(partition)
        ]

    def damaged(self, path: Path) -> None:
        """Take note that a chunk was damaged on purpose just now, so that it has to be written again."""
        self._damaged.add(path)
        if path.exists():
            status = path.stat()
            self._seen[path] = status.st_ino, status.st_mtime_ns

    def next_commit(self, since: float, partition: int | None = None) -> float | None:
        """The first commit or seal after a moment: of a partition, or of any (and then the promotion counts too).

        The moment itself for a partition that was sealed by then.
        """
        if partition is not None and self.seals.get(partition, since + 1) <= since:
            return since
        parts = [partition] if partition is not None else [*self.commits, *self.seals]
        moments = [moment for part in parts for moment in self.commits.get(part, [])]
        moments += [self.seals[part] for part in parts if part in self.seals]
        if partition is None and self.promoted is not None:
            moments.append(self.promoted)
        return min((moment for moment in moments if moment > since), default=None)

    def _open_partitions(self) -> list[int]:
        count = 0 if self._opened is None else self._opened.partition_count
        return [number for number in range(count) if number not in self.seals]

    def _look_at_chunk(self, partition: int, number: int) -> None:
        path = self.job.chunk(partition, number)
        try:
            status = path.stat()
        except FileNotFoundError:  # Sealed away this moment, or taken back because it was damaged.
            return
        file = status.st_ino, status.st_mtime_ns
        before = self._seen.get(path)
        if file == before:
            return
        self._seen[path] = file
        self.commits[partition].append(status.st_mtime)
        if before is not None:
            if path in self._damaged:
                self._damaged.discard(path)
                self.redone += 1
            else:
                self.rewritten.append(str(path.relative_to(self.job.path)))
        self._require_whole(partition, number)

    def _require_whole(self, partition: int, number: int) -> None:
        assert self._opened is not None
        chunk = self._opened.chunks(self._opened.partition(partition))[number]
        try:
            checkpoint.read_chunk(self._opened, chunk)
        except (LookalikeError, OSError) as error:
            if self.job.chunk(partition, number).exists():
                self.half_there.append(str(error))
