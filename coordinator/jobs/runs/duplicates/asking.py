"""Have the workers do what is missing of a search for duplicates: send it, watch them, until nothing is missing."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from coordinator.jobs.reconcile import Unaccounted, others_consume
from coordinator.jobs.runs.events import Doing, Said, Tell
from coordinator.jobs.runs.patience import Patience
from coordinator.local.workers import LocalWorkers
from shared.broker import lease
from shared.broker.connection import CONNECTION_ERRORS, connect, in_words, make_app, refused
from shared.broker.queues import queued_messages, send_duplicates
from shared.broker.refusals import permanent
from shared.broker.troubles import Trouble, clear_troubles, reported_troubles
from shared.errors import BrokerRefuses
from shared.job.identity import known_as
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.messages.duplicates import ComparePairs, FindNeighbours
from shared.settings import Settings
from shared.text import duration

# So many messages are on their way at once, however many are missing: each look reads the whole queue.
_AHEAD: Final = 64
_RATE_SECONDS: Final = 5.0  # A rate over less says nothing.


@dataclass(frozen=True, slots=True)
class Part:
    """One message of the work: what its lease is on, what Flower shows of it, and how many `items` it is of."""

    message: FindNeighbours | ComparePairs
    lease: str
    shown: str
    items: int = 1


@dataclass(frozen=True, slots=True)
class Work:
    """Parts that workers of one queue do. `is_done` reads from the job which are done, by their leases.

    `doing` says what goes on, `items` what is counted: "Comparing images", "pairs".
    """

    doing: str
    items: str
    queue: str
    parts: Sequence[Part]
    done: Callable[[], set[str]]


def until_done(
    job: OpenJob,
    settings: Settings,
    work: Work,
    workers: LocalWorkers | None,
    tell: Tell,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Have the workers do all parts of `work`. May be left or killed at any moment: what is committed stays.

    `workers` are those that were started for it, if any. Raises WorkerFailed and BrokerRefuses as `run_job` does.
    """
    if not work.parts:
        return
    name, seconds = known_as(job.job_id, job.manifest.identity), JobFiles.of(job, settings).look_seconds
    app, unaccounted, told = make_app(settings), Unaccounted(), set[str]()
    patience = Patience(lambda queue, troubled: others_consume(app, queue, troubled))
    watch, cleared, sent = _Watch(work), False, set[str]()
    with connect(settings) as client:
        while left := watch.left():
            holders: list[lease.Holder] = []
            troubles: list[Trouble] = []
            waits = ""
            try:
                if not cleared:  # An earlier run's complaints are not this one's.
                    clear_troubles(client, name)
                    cleared = True
                holders, troubles = lease.holders(client, name), reported_troubles(client, name)
                queued, held = queued_messages(client, work.queue), {holder.what for holder in holders}
                idle = {one.lease: one for one in left if one.lease not in held and one.message.to_json() not in queued}
                due = {what for what in idle if what not in sent}
                due |= {str(what) for what in unaccounted.due(idle.keys() - due)}
                unaccounted.without_grace = False
                for what in sorted(due):
                    send_duplicates(app, idle[what].message, idle[what].shown)
                    sent.add(what)
                waits = "" if holders else "; waiting for a worker"
            except CONNECTION_ERRORS as error:
                if (reason := permanent(error)) is not None:
                    sentence = (
                        f"{refused(settings, reason)} What is committed is safe; run the same command again then."
                    )
                    raise BrokerRefuses(sentence) from None
                waits = f"; the broker does not answer ({in_words(error)}), waiting for it"
            for trouble in troubles:
                if trouble.sentence not in told:
                    told.add(trouble.sentence)
                    tell(Said(f"{trouble.owner}: {trouble.sentence}"))
            for death in workers.watch() if workers is not None else []:
                tell(Said(death))
                unaccounted.without_grace = True
            tell(Doing(f"{watch}{waits}"))
            patience.check_work(str(job.path), troubles, holders, watch.done, work.queue)
            # At no steady pace, as in a run of `index`.
            pause(seconds * random.uniform(0.75, 1.25))
    tell(Doing(str(watch)))


class _Watch:
    """How far some work is, and how fast."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._whole = sum(part.items for part in work.parts)
        self._began: tuple[float, int] | None = None
        self.done = 0

    def left(self) -> list[Part]:
        """The next parts that are not done."""
        done = self._work.done()
        missing = [part for part in self._work.parts if part.lease not in done]
        self.done = self._whole - sum(part.items for part in missing)
        if self._began is None:
            self._began = time.monotonic(), self.done
        return missing[:_AHEAD]

    def __str__(self) -> str:
        said = f"{self._work.doing} … {self.done:,} of {self._whole:,} {self._work.items}"
        began, before = self._began or (time.monotonic(), self.done)
        passed = time.monotonic() - began
        if self.done == before or passed < _RATE_SECONDS:
            return said
        return f"{said}, {duration(passed / (self.done - before) * (self._whole - self.done))} left"
