"""How a run is shown: its steps live on a terminal, as a line every ten seconds elsewhere."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from rich.live import Live
from rich.status import Status

from coordinator.display import job_view
from coordinator.display.remedies import typed
from coordinator.display.terminal import LINE_SECONDS, err, waiting
from coordinator.display.waiting import Waiting
from coordinator.jobs.progress import Progress
from coordinator.jobs.runs.events import Doing, Event, Said, Step
from shared.job.directory import JobDir


class _Steps:
    """Shows steps: live on a terminal, as a line every ten seconds elsewhere."""

    def __init__(self, broker: str) -> None:
        self._broker = broker
        self._shown = -LINE_SECONDS
        self._live = Live(console=err, auto_refresh=False, transient=True) if err.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, step: Step) -> None:
        progress = step.look.progress
        for notice in step.notices:
            err.print(typed(notice), style="yellow")
        doing = job_view.activity(step.look, self._broker)
        if self._live is not None:
            self._live.update(job_view.live_view(progress, doing), refresh=True)
        elif time.monotonic() - self._shown >= LINE_SECONDS:
            self._shown = time.monotonic()
            err.print(job_view.one_line(progress, doing))


class RunView:
    """What a run tells, as it is shown. Use as a context manager.

    `broker` names the one that was given, as `job_view.activity` does. `finished` gives the lines of its end, `waits`
    shows what is happening while there are no steps.
    """

    def __init__(
        self,
        job: JobDir,
        broker: str,
        finished: Callable[[Progress, str], list[str]] = job_view.finished_lines,
        waits: Callable[[str], Status | Waiting] = waiting,
    ) -> None:
        self._job = str(job.path)
        self._broker = broker
        self._finished = finished
        self._waits = waits
        self._shown = ExitStack()
        self._doing: Status | Waiting | None = None
        self._steps: _Steps | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._end()

    def tell(self, event: Event) -> None:
        if isinstance(event, Step):
            if self._steps is None:
                self._end()
                self._steps = self._shown.enter_context(_Steps(self._broker))
            self._steps.show(event)
        elif isinstance(event, Doing):
            if self._doing is None:
                self._end()
                self._doing = self._waits(event.what)
                self._shown.enter_context(self._doing)
            self._doing.update(event.what)
        else:
            self._end()
            lines = [event.sentence] if isinstance(event, Said) else self._finished(event.progress, self._job)
            for line in lines:
                err.print(line)

    def _end(self) -> None:
        self._shown.close()
        self._doing = self._steps = None
