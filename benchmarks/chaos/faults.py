"""Define the faults of the chaos harness, and draw those of a round from its seed."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.chaos.cluster import Member
from benchmarks.chaos.outcome import Strike
from benchmarks.chaos.scene import Planned, Scene
from shared.broker.connection import CONNECTION_ERRORS
from shared.broker.lease import MERGE
from shared.broker.queues import send_embed, send_merge

_MOST_FAULTS = 4
_LATE = 0.95
# How much longer than the lease a process is frozen, and for how much of the lease a broker is away.
_FREEZE = (1.2, 1.5)
_OUTAGE = (0.05, 0.3)


Act = Callable[[Scene, Planned], Strike | None]
"""Does a fault and returns what it hit; None when there is nothing to hit now, and then it is tried again."""


def _strike(planned: Planned, hit: str) -> Strike:
    return Strike(planned.kind, planned.at, time.time(), hit)


def _chosen(scene: Scene, role: str, pick: float) -> Member | None:
    """A process of a role: one that is at work, if any is."""
    ready = [member for member in scene.members.values() if member.role == role and member.strikable]
    busy = [member for member in ready if scene.watch.held_by(member.name)]
    some = busy or ready
    return some[int(pick * len(some))] if some else None


def _on_process(role: str, act: Callable[[Scene, Planned, Member], None]) -> Act:
    def strike(scene: Scene, planned: Planned) -> Strike | None:
        member = _chosen(scene, role, planned.pick)
        if member is None:
            return None
        strike = _strike(planned, member.name)
        held = scene.watch.held_by(member.name)
        if held is not None:
            strike.held = held.what
            strike.work_lost_seconds = scene.watch.work_at_risk(held, strike.moment)
        act(scene, planned, member)
        return strike

    return strike


def _kill(scene: Scene, planned: Planned, member: Member) -> None:
    member.kill(signal.SIGKILL)


def _terminate(scene: Scene, planned: Planned, member: Member) -> None:
    member.kill(signal.SIGTERM)


def _freeze(scene: Scene, planned: Planned, member: Member) -> None:
    member.freeze()
    scene.after(scene.lease_seconds * _between(_FREEZE, planned.stretch), member.thaw)


def _between(bounds: tuple[float, float], stretch: float) -> float:
    return bounds[0] + stretch * (bounds[1] - bounds[0])


def _on_broker(act: Callable[[Scene, float], None]) -> Act:
    def strike(scene: Scene, planned: Planned) -> Strike | None:
        if scene.broker.out:
            return None
        strike = _strike(planned, "broker")
        act(scene, scene.lease_seconds * _between(_OUTAGE, planned.stretch))
        return strike

    return strike


def _broker_back_empty(scene: Scene, seconds: float) -> None:
    scene.broker.kill()
    scene.after(seconds, lambda: scene.broker.start(empty=True))


def _broker_back(scene: Scene, seconds: float) -> None:
    scene.broker.kill()
    scene.after(seconds, scene.broker.start)


def _broker_stopped(scene: Scene, seconds: float) -> None:
    scene.broker.freeze()
    scene.after(seconds, scene.broker.thaw)


def _connections_cut(scene: Scene, seconds: float) -> None:
    scene.broker.cut_connections()


def _second_coordinator(scene: Scene, planned: Planned) -> Strike | None:
    return None if scene.broker.out else _strike(planned, scene.second_coordinator())


def _embed_again(scene: Scene, planned: Planned) -> Strike | None:
    held = sorted(what for what in scene.watch.held if isinstance(what, int))
    if scene.broker.out or not held:
        return None
    partition = held[int(planned.pick * len(held))]
    try:
        send_embed(scene.app, scene.watch.job.job_id, scene.watch.identity, partition, partition + 1)
    except CONNECTION_ERRORS:
        return None
    return _strike(planned, f"partition {partition}")


def _merge_again(scene: Scene, planned: Planned) -> Strike | None:
    if scene.broker.out:
        return None
    try:
        send_merge(scene.app, scene.watch.job.job_id, scene.watch.identity)
    except CONNECTION_ERRORS:
        return None
    return _strike(planned, MERGE)


def _on_chunk(damage: Callable[[Path, float], None]) -> Act:
    def strike(scene: Scene, planned: Planned) -> Strike | None:
        chunks = scene.watch.chunks_under_way()
        if not chunks:
            return None
        path = chunks[int(planned.pick * len(chunks))]
        try:
            damage(path, planned.stretch)
        except FileNotFoundError:  # The chunk has just been sealed and removed.
            return None
        scene.watch.damaged(path)
        return _strike(planned, str(path.relative_to(scene.watch.job.path)))

    return strike


def flip_bit(path: Path, where: float) -> None:
    """Flip one bit in the pages of a Parquet file, at a share of their length: behind the magic, before the footer."""
    data = path.read_bytes()
    end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    place = 4 + int(where * (end - 4 - 1))
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(bytes([data[place] ^ 0x10]))


def cut_short(path: Path, where: float) -> None:
    os.truncate(path, int(path.stat().st_size * where))


def delete(path: Path, where: float) -> None:
    path.unlink()


FAULTS: dict[str, Act] = {
    f"{role}: {what}": _on_process(role, act)
    for role in ("embed", "merge", "query", "coordinator")
    for what, act in (("kill -9", _kill), ("SIGTERM", _terminate), ("frozen past its lease", _freeze))
} | {
    "broker: kill -9, back empty": _on_broker(_broker_back_empty),
    "broker: kill -9, back with its data": _on_broker(_broker_back),
    "broker: stopped for a while": _on_broker(_broker_stopped),
    "broker: connections cut": _on_broker(_connections_cut),
    "second coordinator": _second_coordinator,
    "embed asked twice": _embed_again,
    "merge asked twice": _merge_again,
    "chunk: a bit flipped": _on_chunk(flip_bit),
    "chunk: truncated": _on_chunk(cut_short),
    "chunk: deleted": _on_chunk(delete),
}
"""Every fault by its name. A new one is a line here and a function that does it."""

# While the index is built, the other faults find no process at work or nothing to damage; these mostly do find
# something.
_IN_MERGE = {kind: 0.8 for kind in FAULTS if kind.startswith("merge")} | {
    kind: 0.2 for kind in FAULTS if kind.startswith(("broker", "coordinator", "second"))
}


def draw(seed: int, number: int) -> list[Planned]:
    """The faults of a round in the order of their moments: they depend only on the seed and the round's number."""
    rng = random.Random(f"{seed}/{number}")
    planned = []
    for _ in range(rng.randint(1, _MOST_FAULTS)):
        kind = rng.choice(sorted(FAULTS))
        in_merge = rng.random() < _IN_MERGE.get(kind, 0.0)
        share = rng.random()
        at = round(1 + share if in_merge else _LATE * share, 3)
        planned.append(Planned(kind, at, late=rng.random(), pick=rng.random(), stretch=rng.random()))
    return sorted(planned, key=lambda fault: fault.at)
