"""Verify the log of changes of a job: each change, its removed ids, whether they fit, and what is left over there."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from coordinator.integrity.findings import Checked, Finding, Kind, inside, is_fresh, unread, without_advice
from shared.errors import CorruptFile, JobMismatch
from shared.job.changes.log import last_change, read_change, read_left_out
from shared.job.changes.state import State, state_of
from shared.job.directory import JobDir
from shared.job.manifest import Manifest
from shared.job.opened import OpenJob

_UNKNOWN = "Repair can't make it anew, and nothing else can be judged without it."


@dataclass(slots=True)
class ChangeFindings:
    """The findings of the log of changes of a job of `manifest`. Call `log` first: `leftovers` goes by what it read."""

    job: JobDir
    manifest: Manifest
    checked: Checked
    _state: State | None = None
    _named: set[Path] = field(default_factory=set)

    def opened(self) -> OpenJob | None:
        """The job with the state that its changes lead to; None where one of them is missing, damaged or unread."""
        return None if self._state is None else OpenJob(self.job.path, self.manifest, self._state)

    def log(self) -> Iterator[Finding]:
        """Every change, in order, and that each fits the one before. Raises OSError where they can't be listed."""
        state: State | None = state_of(self.job, self.manifest, ())
        for number in range(1, last_change(self.job) + 1):
            path = self.job.change(number)
            try:
                self.checked.add(path)
                change = read_change(self.job, number)
                if change.digest:
                    self._named.add(self.job.removed(number, change.digest))
                    self.checked.add(self.job.removed(number, change.digest))
                if change.left_out_digest:
                    self._named.add(self.job.removed(number, change.left_out_digest))
                    read_left_out(self.job, change)
                    self.checked.add(self.job.removed(number, change.left_out_digest))
                state = None if state is None else state.after(self.job, change)
            except FileNotFoundError:
                wrong = f"The change {number} of the job is missing, and a later one is there: restore it from a copy."
                yield Finding(inside(self.job, path), Kind.DAMAGE, f"{wrong} {_UNKNOWN}")
                state = None
            except OSError as error:
                yield unread(self.job, path, error)
                state = None
            except (CorruptFile, JobMismatch) as error:
                yield Finding(inside(self.job, path), Kind.DAMAGE, f"{without_advice(error)} {_UNKNOWN}")
                state = None
        self._state = state

    def leftovers(self) -> Iterator[Finding]:
        """Files of removed ids that no change names, of which every change was read. Raises OSError as `log` does."""
        for number, path in self.job.removed_files():
            if path in self._named:
                continue
            try:
                fresh = is_fresh(path)
            except FileNotFoundError:
                continue
            wrong = f"No change names these ids: what began change {number} was killed, or another one came first."
            if fresh:
                wrong += " It may also be at work now: repair leaves them until they are an hour old."
                yield Finding(inside(self.job, path), Kind.LEFTOVER, wrong)
            else:
                yield Finding(inside(self.job, path), Kind.LEFTOVER, wrong, "removed", (path,), alone=True)
