"""Play one round: a fresh job over the same photographs, its faults at their moments, then the check of the
promises.
"""

import math
import random
import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.chaos import check, queries
from benchmarks.chaos.cluster import TYPE_AGAIN_SECONDS, Broker, Member
from benchmarks.chaos.faults import FAULTS
from benchmarks.chaos.outcome import Outcome, Strike
from benchmarks.chaos.queries import Asker
from benchmarks.chaos.scene import Planned, Scene, is_due
from benchmarks.chaos.watch import Watch
from benchmarks.support.processes import LOOKALIKE
from shared.broker.connection import make_app
from shared.broker.lease import MERGE
from shared.broker.queues import queued_messages
from shared.errors import LookalikeError
from shared.job.directory import JobDir
from shared.settings import Settings

_POLL_SECONDS = 0.02
_LEASES_EVERY_SECONDS = 0.2
_QUERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What is the same for all rounds."""

    photos: Path
    folder: Path
    env: Mapping[str, str]
    settings: Settings
    partition_size: int
    chunk_size: int
    chunk_seconds: float
    merge_seconds: float
    deadline: float
    broker: Broker
    workers: Mapping[str, Member]
    say: Callable[[str], None]


class Round:
    """Plays one round; `play` returns its outcome."""

    def __init__(self, stage: Stage, number: int, planned: list[Planned]) -> None:
        self._stage, self._planned = stage, list(planned)
        self.job = JobDir.at(stage.folder / "jobs" / (f"round{number:04d}" if number else "undisturbed"))
        self._watch = Watch(self.job)
        self._outcome = Outcome(number)
        self._looked = 0.0
        self._coordinators = {"coordinator": self._coordinator("coordinator", restart=True)}
        self._app = make_app(stage.settings)
        self._scene = Scene(
            members={**stage.workers, **self._coordinators},
            broker=stage.broker,
            watch=self._watch,
            app=self._app,
            lease_seconds=stage.settings.lease_seconds,
            chunk_seconds=stage.chunk_seconds,
            merge_seconds=stage.merge_seconds,
            second_coordinator=self._second_coordinator,
        )

    def _coordinator(self, name: str, *, restart: bool) -> Member:
        sizes = ["--partition-size", str(self._stage.partition_size), "--chunk-size", str(self._stage.chunk_size)]
        command = [LOOKALIKE, "index", str(self._stage.photos), str(self.job.path), *sizes]
        log = self._stage.folder / "logs" / f"{self.job.job_id}-{name}.log"
        return Member(
            name, "coordinator", command, log, self._stage.env, TYPE_AGAIN_SECONDS, once=True, restart=restart
        )

    def _second_coordinator(self) -> str:
        name = f"coordinator{len(self._coordinators) + 1}"
        self._coordinators[name] = self._coordinator(name, restart=False)
        return name

    def play(self, asker: Asker | None, reference: Mapping[str, str]) -> Outcome:
        """Run the job through its faults to its end, and check it against the checksums of the undisturbed one."""
        started = time.time()
        logs = {member.log: member.log.stat().st_size for member in self._stage.workers.values()}
        wrong_before = len(asker.wrong) if asker else 0
        try:
            while not self._is_over(asker):
                self._tick(time.time(), asker)
                if time.time() - started > self._stage.deadline:
                    self._outcome.mismatches.append(f"The round hangs. {self.state()}")
                    break
                time.sleep(_POLL_SECONDS)
        finally:
            self._scene.undo_what_is_due(math.inf)  # A frozen process must not stay so in the next round.
            for member in self._coordinators.values():
                member.stop()
            self._app.close()
        outcome = self._outcome
        outcome.seconds = time.time() - started
        outcome.chunks_redone, outcome.chunks_rewritten = self._watch.redone, len(self._watch.rewritten)
        outcome.mismatches += [f"The chunk {name} was written again." for name in self._watch.rewritten]
        outcome.mismatches += self._watch.half_there
        if self._watch.promoted is not None:
            outcome.mismatches += check.broken_promises(self.job, reference)
            outcome.mismatches += check.verified(self.job, self._stage.env)
            outcome.mismatches += self._finds_itself()
        outcome.mismatches += asker.wrong[wrong_before:] if asker else []
        logs |= {member.log: 0 for member in self._coordinators.values()}
        outcome.mismatches += check.tracebacks(logs)
        return outcome

    def _tick(self, now: float, asker: Asker | None) -> None:
        stage, watch = self._stage, self._watch
        self._scene.undo_what_is_due(now)
        stage.broker.tick()
        for member in [*stage.workers.values(), *self._coordinators.values()]:
            complaint = member.tick(now, stage.broker.was_out_since)
            if complaint is not None:
                self._outcome.mismatches.append(complaint)
        watch.look(now)
        if not stage.broker.out and now - self._looked >= _LEASES_EVERY_SECONDS:
            self._looked = now
            watch.look_at_leases(stage.broker.client, now)
        for planned in [fault for fault in self._planned if is_due(fault, self._scene, now)]:
            strike = FAULTS[planned.kind](self._scene, planned)
            if strike is not None:
                self._planned.remove(planned)
                self._outcome.strikes.append(strike)
                what = "" if strike.held is None else f", which holds {strike.held}"
                stage.say(f"  {watch.share:4.0%}  {strike.kind}: {strike.hit}{what}")
            elif self._coordinators["coordinator"].done:
                self._planned.remove(planned)
                self._outcome.not_fired.append(planned.kind)
        for strike in self._outcome.strikes:
            strike.recovered = strike.recovered or self._recovered_at(strike, asker)
            if asker is not None and strike.bars_searches:
                strike.answered = strike.answered or asker.answered_after(strike.moment)

    def _recovered_at(self, strike: Strike, asker: Asker | None) -> float | None:
        """When what a fault had stopped continued, in seconds since the epoch; None as long as it does not.

        - A worker that held a partition: the next commit or the seal of it, by any worker. One that held the
          merge: the promotion.
        - A worker that held nothing, and a coordinator: when it works again (see Member). A query worker: when the
          next search is answered that was sent after the fault.
        - The broker: the next commit or seal of any partition, or the promotion; once all that is done, the next
          answered search.
        - A fault that kills no process (extra messages and coordinators, damaged chunks): at once.
        """
        watch = self._watch
        role = strike.kind.partition(":")[0]
        if isinstance(strike.held, int):
            return watch.next_commit(strike.moment, strike.held)
        if strike.held == MERGE:
            return None if watch.promoted is None else max(watch.promoted, strike.moment)
        if role == "query":
            return asker.answered_after(strike.moment) if asker else strike.moment
        if role == "broker":
            answered = asker.answered_after(strike.moment) if asker and watch.promoted is not None else None
            return watch.next_commit(strike.moment) or answered
        if role in ("embed", "merge", "coordinator") and ":" in strike.kind:
            worked = self._scene.members[strike.hit].worked
            return next((moment for moment in worked if moment > strike.moment), None)
        return strike.moment

    def _is_over(self, asker: Asker | None) -> bool:
        stage = self._stage
        return (
            all(member.done for member in self._coordinators.values())
            and not self._planned
            and not self._scene.later
            and not stage.broker.out
            and all(member.settled for member in stage.workers.values())
            and all(strike.recovered is not None for strike in self._outcome.strikes)
            and all(strike.answered or not strike.bars_searches for strike in self._outcome.strikes)
            and not self._watch.held
        )

    def _finds_itself(self) -> list[str]:
        """Search the finished job for one of its own images, drawn by the round's number, by its file."""
        try:
            image_id, path = check.image_of(self.job, random.Random(self._outcome.number).random())
        except LookalikeError as error:
            return [str(error)]
        return queries.find_itself(self.job, self._stage.broker.url, image_id, path, _QUERY_SECONDS)

    def state(self) -> str:
        """The state of a round that hangs, for people."""
        watch, stage = self._watch, self._stage
        members = {**stage.workers, **self._coordinators}
        queues = (
            {}
            if stage.broker.out
            else {queue: len(queued_messages(stage.broker.client, queue)) for queue in ("embed", "merge")}
        )
        state = {
            "committed": f"{watch.share:.0%}",
            "sealed": sorted(watch.seals),
            "held": [f"{held.what} by {held.owner}" for held in watch.held.values()],
            "promoted": watch.promoted is not None,
            "queues": queues,
            "broker": "out" if stage.broker.out else "up",
            "processes": {name: member.state for name, member in members.items()},
            "not recovered": [strike.kind for strike in self._outcome.strikes if strike.recovered is None],
            "no search answered since": [
                strike.kind for strike in self._outcome.strikes if strike.bars_searches and strike.answered is None
            ],
            "waiting for their moment": [planned.kind for planned in self._planned],
        }
        return "; ".join(f"{what}: {found}" for what, found in state.items())

    def chunk_seconds(self) -> float:
        """The median of the seconds that a worker needed for a chunk, from one commit to the next of its partition."""
        steps = [
            later - earlier for commits in self._watch.commits.values() for earlier, later in pairwise(sorted(commits))
        ]
        return statistics.median(steps) if steps else 0.0

    def remove(self) -> None:
        shutil.rmtree(self.job.path, ignore_errors=True)
