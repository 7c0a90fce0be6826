"""Find and send the messages that are missing: manifest - ledger - leases - queues. So no message need survive."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import redis
from celery import Celery

from coordinator.jobs.progress import Progress, ProgressReader
from shared.broker import lease
from shared.broker.connection import CONNECTION_ERRORS, in_words
from shared.broker.lease import COPIES, MERGE, Holder, shard_lease
from shared.broker.queues import queued_messages, send_copies, send_embed, send_merge, send_shard
from shared.broker.refusals import permanent
from shared.broker.troubles import Trouble, reported_troubles
from shared.errors import BrokerRefuses, MessageError
from shared.job.identity import known_as
from shared.job.index.filling import Filling
from shared.messages.tasks import EMBED_QUEUE, MERGE_QUEUE, EmbedCopies, EmbedPartition, FillShard, MergeJob
from shared.processes.failpoints import failpoint
from shared.processes.outage import Outage

log = logging.getLogger("lookalike.reconcile")

# A partition that no worker holds and no queue lists may just be on its way from one to the other, or its live worker
# may be taking its lease again after Redis forgot it. Only one that stays unaccounted for this long is sent again.
GRACE_SECONDS = 6.0
# An index waits for its altered copies no longer than this if no worker embeds any more.
COPIES_SECONDS = 60.0
_ASK_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found: progress from disk, and from Redis, if it answers, who holds what and what workers
    report.
    """

    progress: Progress
    holders: list[Holder] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    broker_error: str | None = None


def others_consume(app: Celery, queue: str, troubled: set[str]) -> bool:
    """Whether a worker that is none of `troubled` (node names) says that it takes messages of `queue`."""
    # It asks twice: a worker that is busy for a moment does not answer in time.
    for _ in range(2):
        try:
            nodes = app.control.inspect(timeout=_ASK_SECONDS).active_queues() or {}
        except CONNECTION_ERRORS:
            continue
        if any(taken["name"] == queue for node, queues in nodes.items() if node not in troubled for taken in queues):
            return True
    return False


class Unaccounted:
    """What no worker holds and no queue lists, and since when. `clock` gives seconds that only go forward."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[int | str, float] = {}
        self.without_grace = True
        """Whether all is due at the next look, as at the first one, or when a worker was seen to die."""

    def due(self, what: set[int] | set[str]) -> set[int | str]:
        """Those that have been unaccounted for long enough; all if there is no grace."""
        now = self._clock()
        since = {one: self._since.get(one, now) for one in what}
        due = {one for one, first in since.items() if self.without_grace or now - first >= GRACE_SECONDS}
        self._since = {one: now if one in due else first for one, first in since.items()}
        return due


class Reconciler:
    """Compares what a job should be with what is on disk, held and queued, and asks for what is missing.

    Call `look()` repeatedly. The object may be lost and created again at any moment, as it remembers nothing important.
    An extra message is harmless, because of leases and idempotent commits.
    """

    def __init__(
        self,
        app: Celery,
        client: redis.Redis,
        reader: ProgressReader,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._client = client
        self._reader = reader
        self._clock = clock
        self._job_id = reader.job.job_id
        self._identity = reader.job.manifest.identity
        self._known_as = known_as(self._job_id, self._identity)
        self._unaccounted = Unaccounted(clock)
        self._outage = Outage(log, f"{self._job_id}: the broker does not answer", "looking again until it does")
        self._copies_wait_since: float | None = None

    def resend_at_once(self) -> None:
        """Let the next look send what no worker holds, without the grace, because the caller has seen a worker die."""
        self._unaccounted.without_grace = True

    def others_consume(self, queue: str, troubled: set[str]) -> bool:
        """As the function of that name, for the broker of this job."""
        return others_consume(self._app, queue, troubled)

    def look(self) -> Look:
        """Read the ledger, send what is missing, and say what was found. A broker that is away is in the answer.

        Raises BrokerRefuses, with only the reason, for an error that waiting will not change.
        """
        failpoint("look")
        progress = self._reader.read()
        try:
            holders = lease.holders(self._client, self._known_as)
            troubles = reported_troubles(self._client, self._known_as)
            if not progress.complete:
                job, sealed = self._reader.job, self._reader.seals()
                self._send_missing({one.number for one in job.partitions if one.number not in sealed}, holders)
            elif not progress.index_is_current and progress.refused is None:
                if progress.filling is not None and progress.filling.missing:
                    self._send_shards(progress.filling, holders)
                elif progress.copies_done:
                    self._send_merge(holders)
                else:
                    self._send_copies(holders)
            elif progress.features is not None and progress.features.lacking:
                self._send_missing(set(progress.features.lacking), holders)
        except CONNECTION_ERRORS as error:
            if (reason := permanent(error)) is not None:
                raise BrokerRefuses(reason) from None
            self._outage.began(in_words(error))
            return Look(progress, broker_error=in_words(error))
        self._outage.over()
        self._unaccounted.without_grace = False
        return Look(progress, holders, troubles)

    def _send_missing(self, missing: set[int], holders: list[Holder]) -> None:
        """Ask for partitions to be embedded, or for the features of those that are."""
        job = self._reader.job
        held = {int(holder.what) for holder in holders if holder.what.isdigit()}
        queued = set()
        for table in queued_messages(self._client, EMBED_QUEUE):
            try:
                message = EmbedPartition.from_json(table)
            except MessageError:
                continue
            if message.known_as == self._known_as:
                queued.add(message.partition)
        for number in sorted(int(what) for what in self._unaccounted.due(missing - held - queued)):
            send_embed(self._app, self._job_id, self._identity, number, job.state.next_number)

    def _send_copies(self, holders: list[Holder]) -> None:
        message = EmbedCopies(self._job_id, self._identity).to_json()
        asked = message in queued_messages(self._client, EMBED_QUEUE)
        held = any(holder.what == COPIES for holder in holders)
        if asked and not held and self._nobody_embeds():
            self._send_merge(holders)
        elif self._unaccounted.due(set() if asked or held else {COPIES}):
            send_copies(self._app, self._job_id, self._identity)
        if held or not asked:
            self._copies_wait_since = None

    def _nobody_embeds(self) -> bool:
        """Whether the message for the altered copies has waited for a minute and there is no worker to take it."""
        now = self._clock()
        if self._copies_wait_since is None:
            self._copies_wait_since = now
        if now - self._copies_wait_since < COPIES_SECONDS:
            return False
        if self.others_consume(EMBED_QUEUE, set()):
            self._copies_wait_since = None
            return False
        return True

    def _send_merge(self, holders: list[Holder]) -> None:
        message = MergeJob(self._job_id, self._identity).to_json()
        asked = message in queued_messages(self._client, MERGE_QUEUE)
        held = any(holder.what == MERGE for holder in holders)
        if self._unaccounted.due(set() if asked or held else {MERGE}):
            send_merge(self._app, self._job_id, self._identity)

    def _send_shards(self, filling: Filling, holders: list[Holder]) -> None:
        held = {holder.what for holder in holders}
        queued = queued_messages(self._client, MERGE_QUEUE)
        unaccounted = {
            shard_lease(number)
            for number in filling.missing
            if shard_lease(number) not in held
            and FillShard(self._job_id, filling.build, number, self._identity).to_json() not in queued
        }
        due = self._unaccounted.due(unaccounted)
        for number in filling.missing:
            if shard_lease(number) in due:
                send_shard(self._app, self._job_id, self._identity, filling.build, number, len(filling.ranges))
