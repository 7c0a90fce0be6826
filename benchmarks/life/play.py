"""Play the turns of a life: each on the undisturbed job first, then on the one whose command is killed on the way."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos import check
from benchmarks.life import compare
from benchmarks.life.collection import Collection
from benchmarks.life.commands import Arguments, Ended, run
from benchmarks.life.plan import Turn
from shared.errors import LookalikeError, WorkerFailed
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.settings import Settings
from workers.search.pool import SearcherPool

_SIZES: Final = ("--partition-size", "40", "--chunk-size", "10")
_COPIES: Final = ("--copies", "on")

Command = Callable[[JobDir], Arguments]
"""What is typed for a job."""


@dataclass(slots=True)
class Struck:
    """A kill that hit: of what, after how many seconds, and whether the change had been committed by then."""

    whole_machine: bool
    seconds: float
    committed: bool


@dataclass(slots=True)
class Played:
    """What came of a turn. `mismatches` are sentences about what does not hold; there should be none.

    `seconds` is the wall time of the undisturbed command.
    """

    number: int
    kind: str
    seconds: float = 0.0
    kills: list[Struck] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Life:
    """Two jobs of one collection of photographs, to which the same happens."""

    def __init__(self, folder: Path, images: int, env: Mapping[str, str]) -> None:
        self._folder, self._env = folder, env
        self._collection = Collection(folder / "collection", images)
        self._log = folder / "commands.log"
        self._undisturbed, self._job, self._at_once = (
            JobDir.at(folder / "jobs" / name) for name in ("undisturbed", "struck", "at-once")
        )
        self._pool = SearcherPool(Settings())

    def begin(self) -> None:
        """Make both jobs; raises WorkerFailed where that fails."""
        for job in (self._undisturbed, self._job):
            self._must(["index", self._collection.folders[0], job.path, *_SIZES, *_COPIES])
            self._pool.searcher(job)  # As a query worker that runs all the while.

    def play(self, turn: Turn) -> Played:
        """Let a turn happen to both jobs, and compare them."""
        played = Played(turn.number, turn.kind)
        before = open_job(self._undisturbed).state.number
        command = self._happen(turn)
        played.seconds = round(self._must(command(self._undisturbed)).seconds, 2)
        states = compare.states_from(self._undisturbed, before)
        try:
            if not self._struck(turn, command, played, states):
                return played
            held = self._collection.held
            played.mismatches += compare.differences(self._job, self._undisturbed, held)
            played.mismatches += check.verified(self._job, self._env)
            vectors = compare.some_vectors(self._pool, self._undisturbed, turn.seed)
            found, expected = (compare.answers(self._pool, job, vectors) for job in (self._job, self._undisturbed))
            if found != expected:
                played.mismatches.append("The answers are not those of the undisturbed job.")
            if turn.kind == "duplicates":
                said, expected_said = (self._said(command(job)) for job in (self._job, self._undisturbed))
                if said != expected_said:
                    played.mismatches.append(f"{said} And the undisturbed job says: {expected_said}")
        except LookalikeError as error:
            played.mismatches.append(str(error))
        return played

    def end(self) -> list[str]:
        """What differs from a job that is made at once of what is left."""
        listed = self._folder / "left.txt"
        listed.write_text("".join(f"{path}\n" for path in sorted(self._collection.held)))
        self._must(["index", listed, self._at_once.path, *_SIZES])
        vectors = compare.some_vectors(self._pool, self._job, 0)
        found, expected = (compare.answers(self._pool, job, vectors) for job in (self._job, self._at_once))
        return compare.other_answers(found, expected)

    def _happen(self, turn: Turn) -> Command:
        """Change the files as the turn says; returns the command that is typed then."""
        rng = random.Random(turn.seed)
        match turn.kind:
            case "delete":
                drawn = self._collection.delete(rng)
                return lambda job: ["delete", job.path, *drawn]
            case "retry":
                self._collection.mend(rng)
                return lambda job: ["retry", job.path]
            case "add":
                added = self._collection.add(rng)
                return lambda job: ["add", job.path, *added]
            case "compact":
                return lambda job: ["compact", job.path]
            case "duplicates":
                return lambda job: ["duplicates", job.path]
            case "source":
                folder = self._collection.source(rng)
                return lambda job: ["index", folder, job.path, "--add"]
            case _:
                self._collection.refresh(rng)
                return lambda job: ["index", job.path]

    def _struck(self, turn: Turn, command: Command, played: Played, states: Sequence[compare.Known]) -> bool:
        """Type the command of a turn again after each kill, until it ends well; False where it does not."""
        for kill in turn.kills:
            ended = run(command(self._job), self._env, self._log, played.seconds * kill.share, kill)
            known = compare.state(self._job)
            if known not in states:
                played.mismatches.append(f"After a kill the job is as it was after no change: {known}.")
                return False
            committed = known != states[0]
            if ended.status is None:
                played.kills.append(Struck(kill.whole_machine, round(ended.seconds, 2), committed))
                played.mismatches += self._hits_of_none(turn.seed, known)
            if self._is_over(turn, ended, states):
                return True
        ended = run(command(self._job), self._env, self._log)
        if ended.status and self._is_over(turn, ended, states):
            return True  # Workers of the last command that was killed had gone on, and committed its change.
        if ended.status:
            played.mismatches.append(f"After its kills, {turn.kind} ended with {ended.status}: {ended.said}")
        return ended.status == 0

    def _is_over(self, turn: Turn, ended: Ended, states: Sequence[compare.Known]) -> bool:
        """Whether nothing has to be typed again: who asked for what has happened would be told so."""
        committed = compare.state(self._job) == states[-1] != states[0]
        return ended.status == 0 or (turn.kind in ("delete", "add") and committed)

    def _hits_of_none(self, seed: int, known: compare.Known) -> list[str]:
        vectors = compare.some_vectors(self._pool, self._undisturbed, seed)
        allowed = set(range(known[0])) - known[1]
        return compare.hits_of_none(compare.answers(self._pool, self._job, vectors), allowed)

    def _said(self, arguments: Arguments) -> str:
        """The last line that a command says."""
        return self._must(arguments).said.rstrip().rpartition("\n")[2]

    def _must(self, arguments: Arguments) -> Ended:
        ended = run(arguments, self._env, self._log)
        if ended.status != 0:
            raise WorkerFailed(f"lookalike {' '.join(map(str, arguments))} ended with {ended.status}: {ended.said}")
        return ended
