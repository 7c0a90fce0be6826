"""Patience with workers in trouble: when no waiting will bring a job on, and what is said then."""

from collections.abc import Callable, Sequence
from functools import reduce

from coordinator.jobs.reconcile import Look
from shared.broker.lease import Holder
from shared.broker.troubles import Trouble
from shared.errors import WorkerFailed
from shared.errors.remedy import Remedy
from shared.messages.tasks import EMBED_QUEUE, MERGE_QUEUE

# A worker that can't do what it was asked offers it again after ten seconds, to itself if there is no other.
_HOPELESS_TIMES = 3


def hopeless(job: str, troubles: Sequence[Trouble]) -> WorkerFailed:
    """What to raise for troubles that no waiting ends, with the remedies of all of them."""
    reasons = {trouble.sentence: trouble.error for trouble in troubles}
    found = [reasons[sentence].found for sentence in sorted(reasons)]
    remedies = [error.remedy for error in reasons.values() if error.remedy is not None]
    distinct = [remedy for place, remedy in enumerate(remedies) if remedy not in remedies[:place]]
    return WorkerFailed(
        f"No worker can go on with {job}: {' '.join(said if said.endswith('.') else f'{said}.' for said in found)} "
        "What is committed is safe; run the same command again when that is mended.",
        remedy=reduce(Remedy.followed_by, distinct) if distinct else None,
    )


class Patience:
    """Gives up when a worker has reported trouble three times, nothing got done meanwhile, and no one else works.

    Counted by worker: many that hiccup once each, as when a mount comes back, are no reason to end. Nor is one in
    trouble while another waits for work: who gets a message is chance. `others_consume` is asked last, as it is slow.
    """

    def __init__(self, others_consume: Callable[[str, set[str]], bool]) -> None:
        self._others_consume = others_consume
        self._done = -1
        self._times_before: dict[str, int] = {}

    def check(self, look: Look) -> None:
        """Raise WorkerFailed when there is nothing to wait for: of a job that is embedded and indexed."""
        queue = MERGE_QUEUE if look.progress.copies_done else EMBED_QUEUE
        self.check_work(look.progress.job, look.troubles, look.holders, look.progress.done, queue)

    def check_work(
        self, job: str, troubles: Sequence[Trouble], holders: Sequence[Holder], done: int, queue: str
    ) -> None:
        """As `check`, of any work on a job of which so much is `done`; its messages are in `queue`."""
        times = {trouble.owner: trouble.times for trouble in troubles}
        others = any(holder.owner not in times for holder in holders)
        forgotten = any(times.get(owner, 0) < count for owner, count in self._times_before.items())
        if done != self._done or others or forgotten:
            self._done = done
            self._times_before = times
            return
        if any(count - self._times_before.get(owner, 0) >= _HOPELESS_TIMES for owner, count in times.items()):
            if self._others_consume(queue, set(times)):
                self._times_before = times
                return
            raise hopeless(job, troubles)
