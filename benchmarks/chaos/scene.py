"""Define what a fault of the chaos harness gets: its parameters, what it can reach, and its moment."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from celery import Celery

from benchmarks.chaos.cluster import Broker, Member
from benchmarks.chaos.watch import Watch


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault of a round, drawn before it begins.

    `at` is when: below 1 the share of the chunks that are committed, from 1 on the merge has begun, and the part after
    the point is how long ago in units of `Scene.merge_seconds`. `late` is how much of the time that a chunk takes is
    let pass then, so that not every fault comes just behind a commit. `pick` and `stretch`, 0 to 1, choose among what
    can be hit and how long the fault lasts.
    """

    kind: str
    at: float
    late: float
    pick: float
    stretch: float


@dataclass(slots=True)
class Scene:
    """What a fault can reach in a round: processes, broker, job directory; what is to be undone later; how long a chunk
    and a merge take here; and when each share of the job was `reached`, in seconds since the epoch.
    """

    members: Mapping[str, Member]
    broker: Broker
    watch: Watch
    app: Celery
    lease_seconds: float
    chunk_seconds: float
    merge_seconds: float
    second_coordinator: Callable[[], str]
    later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    reached: dict[float, float] = field(default_factory=dict)

    def after(self, seconds: float, undo: Callable[[], None]) -> None:
        self.later.append((time.time() + seconds, undo))

    def undo_what_is_due(self, now: float) -> None:
        for due in [entry for entry in self.later if entry[0] <= now]:
            self.later.remove(due)
            due[1]()


def is_due(planned: Planned, scene: Scene, now: float) -> bool:
    """Whether the moment of a fault has come; once the job is promoted, that of every fault has."""
    watch = scene.watch
    if watch.promoted is not None:
        return True
    if planned.at < 1:
        if watch.share >= planned.at:
            scene.reached.setdefault(planned.at, now)
        return now >= scene.reached.get(planned.at, math.inf) + planned.late * scene.chunk_seconds
    return watch.merge_begun is not None and now >= watch.merge_begun + (planned.at - 1) * scene.merge_seconds
