"""Lease a partition, a shard, or the merge of a job, to one worker in Redis; a lease expires when its holder stops
renewing it.

A `job` here is what `shared.job.identity.known_as` gives for it, so that two jobs of one name do not share leases.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import redis

from shared.processes.outage import Outage

log = logging.getLogger("lookalike.lease")

_PREFIX = "lookalike:lease"
_BEATS_PER_LEASE = 4
# A process that waits for Redis because of a lease waits at most this part of its seconds. A beat and two such waits
# must fit into half a lease: that long `held` believes the thread that renews.
_WAITS_PER_LEASE = 10
_LONGEST_WAIT_SECONDS = 2.0
MERGE = "merge"
COPIES = "copies"
_SHARD = "shard-"

# Both compare before they touch: a lease that has passed to another holder is neither prolonged nor removed.
_RENEW = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end
if redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return 0
"""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


def shard_lease(number: int) -> str:
    """What the lease on a shard, counted from 0, is on."""
    return f"{_SHARD}{number}"


def shard_of(what: str) -> int | None:
    """The number of the shard that a lease is on; None for a lease on anything else."""
    number = what.removeprefix(_SHARD)
    return int(number) if number != what and number.isdigit() else None


def neighbours_lease(partition: int) -> str:
    """What the lease on the neighbours of a partition is on."""
    return f"neighbours-{partition}"


def compare_lease(batch: str) -> str:
    """What the lease on a batch of pairs that are to be compared is on."""
    return f"compare-{batch}"


def lease_key(job: str, what: int | str) -> str:
    """The Redis key of a job's lease on a partition number, on COPIES or MERGE, or on a `shard_lease`."""
    return f"{_PREFIX}:{job}:{what}"


def wait_seconds(lease_seconds: float) -> float:
    """The socket timeout for the connection that leases of so many seconds are renewed over."""
    return min(_LONGEST_WAIT_SECONDS, lease_seconds / _WAITS_PER_LEASE)


def _now() -> tuple[float, float]:
    """Two clocks: one can't be set back, the other continues while a machine sleeps."""
    return time.monotonic(), time.time()


class Lease:
    """One holder's claim to a partition, renewed by a thread until it is left.

    Use as a context manager after `acquire` said True. `held()` is True also while Redis is away or has forgotten
    everything and no other worker has taken the lease: then the work continues, and commits stay idempotent.
    """

    def __init__(
        self,
        client: redis.Redis,
        job: str,
        what: int | str,
        owner: str,
        seconds: float,
        shown: str | None = None,
        clocks: Callable[[], tuple[float, float]] = _now,
    ) -> None:
        """Log lines call the lease `shown`.

        `client` should wait no longer than `wait_seconds(seconds)` for an answer, as `held()` may wait that long.
        """
        self._client = client
        self._key = lease_key(job, what)
        self._token = f"{owner}|{uuid.uuid4().hex}"
        self._milliseconds = int(seconds * 1000)
        self._interval = seconds / _BEATS_PER_LEASE
        self._believed = seconds / 2
        self._clocks = clocks
        self._asked = clocks()
        self._shown = shown or f"{job} {what}"
        self._outage = Outage(log, f"{self._shown}: its lease could not be renewed", "the work goes on")
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> bool:
        """Take the lease if no worker has it, and renew it from now on. Raises redis.RedisError when Redis is away."""
        began = self._clocks()
        if not self._client.set(self._key, self._token, nx=True, px=self._milliseconds):
            return False
        self._asked = began
        self._thread = threading.Thread(target=self._renew_until_left, name=f"lease {self._key}", daemon=True)
        self._thread.start()
        return True

    def held(self) -> bool:
        """Whether the lease is still ours; asked before each commit, as a stopped process may wake up long after.

        The thread that renews is believed for half the lease's time, counted from before it asked: that long no other
        worker can have got the lease, and a broker that hangs delays no commit. After that, as when the process or its
        machine was stopped, Redis is asked again. A Redis that is away says nothing against us, and one that has come
        back empty gives us the lease again.
        """
        if not self._lost.is_set() and self._age() > self._believed:
            self._renew()
        return not self._lost.is_set()

    def _age(self) -> float:
        """Seconds since the last question that was answered or given up, by the clock that has advanced more."""
        return max(now - then for now, then in zip(self._clocks(), self._asked, strict=True))

    def _renew(self) -> None:
        began = self._clocks()
        try:
            if self._client.eval(_RENEW, 1, self._key, self._token, self._milliseconds):
                self._outage.over()
            else:
                log.warning("%s: its lease went to another worker while this one was silent.", self._shown)
                self._lost.set()
        except redis.exceptions.RedisError as error:
            self._outage.began(error)
        self._asked = max(self._asked, began)

    def _renew_until_left(self) -> None:
        while not self._stop.wait(self._interval) and not self._lost.is_set():
            self._renew()

    def release(self) -> None:
        """Stop renewing, and free what is still ours."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self._client.eval(_RELEASE, 1, self._key, self._token)
        except redis.exceptions.RedisError as error:
            log.warning("%s: its lease could not be given back (%s); it ends by itself.", self._shown, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.release()


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease: the node name of a worker, and the partition number, COPIES, MERGE or a `shard_lease`."""

    owner: str
    what: str


def holders(client: redis.Redis, job: str) -> list[Holder]:
    """All leases on a job now. Raises redis.RedisError when Redis is away."""
    prefix = lease_key(job, "")
    keys = list(client.scan_iter(match=f"{prefix}*", count=500))
    values = client.mget(keys) if keys else []
    # A set, as a SCAN may give a key twice.
    found = {
        Holder(owner=str(value).rpartition("|")[0], what=str(key).removeprefix(prefix))
        for key, value in zip(keys, values, strict=True)
        if value is not None
    }
    return sorted(found, key=lambda holder: holder.what.zfill(12))


def release_owner(client: redis.Redis, owner: str) -> int:
    """Free every lease of a worker known to be dead; returns how many. For a caller that has seen the process end."""
    freed = 0
    for key in client.scan_iter(match=f"{_PREFIX}:*", count=500):
        value = client.get(key)
        if value is not None and str(value).rpartition("|")[0] == owner:
            freed += int(client.eval(_RELEASE, 1, key, str(value)))
    return freed
