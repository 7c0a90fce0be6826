"""Say whether a job would run here and how long it would take, as `lookalike doctor` does, in an object."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

from lookalike import extras
from lookalike.program import Event
from lookalike.tools.given import require_lists, settings_with
from shared.errors import UsageError
from shared.job.directory import JobDir

if TYPE_CHECKING:
    from coordinator.doctor.checks import Check

_SIGNS: Final = {"ok": ("✓", "#2e7d32"), "warning": ("!", "#b26a00"), "problem": ("✗", "#c62828")}


@dataclass(frozen=True, slots=True)
class Checkup:
    """What `doctor` found.

    Attributes
    ----------
    checks
        A check for each thing that was looked at: its `subject` in a word, its `verdict` ("ok", "warning", "problem"),
        a `sentence`, and the `facts` behind it. `checkup["gpu"]` is that of the GPU.
    measured, prediction
        The times of the sample, and what the whole source would take: `seconds`, `disk_bytes` and so on, as
        `lookalike doctor --json` has them; None where no source was given or none could be timed.
    """

    checks: Sequence["Check"]
    measured: Mapping[str, Any] | None
    prediction: Mapping[str, Any] | None
    _sample: str
    _verdict: str

    @property
    def ok(self) -> bool:
        """Whether a job would run, if not always as it should."""
        return all(check.verdict != "problem" for check in self.checks)

    def __iter__(self) -> Iterator["Check"]:
        return iter(self.checks)

    def __getitem__(self, subject: str) -> "Check":
        """The check of a subject, the last where there are several; raises KeyError for what was not looked at."""
        return {check.subject: check for check in self.checks}[subject]

    def __str__(self) -> str:
        lines = [f"{check.verdict:<9}{check.subject:<12}{' '.join(check.sentence.split())}" for check in self.checks]
        return "\n".join([*lines, *(["", self._sample] if self._sample else []), "", self._verdict])

    def _repr_html_(self) -> str:
        rows = "".join(map(_row, self.checks))
        sample = f'<pre style="margin:8px 0;font-family:monospace">{escape(self._sample)}</pre>' if self._sample else ""
        return f'<table style="border-collapse:collapse">{rows}</table>{sample}<p><b>{escape(self._verdict)}</b></p>'


def _row(check: "Check") -> str:
    sign, colour = _SIGNS[str(check.verdict)]
    cell = '<td style="text-align:left;vertical-align:top;padding:2px 12px 2px 0;border:none'
    told = escape(" ".join(check.sentence.split()))
    return (
        f'<tr>{cell};color:{colour};white-space:nowrap"><b title="{check.verdict}">{sign}</b> {escape(check.subject)}'
        f'</td>{cell};overflow-wrap:anywhere">{told}</td></tr>'
    )


def doctor(
    source: str | os.PathLike[str] | None = None,
    job: str | os.PathLike[str] | None = None,
    *,
    progress: Callable[[Event], object] | None = None,
    seconds: float = 20.0,
    model: str | os.PathLike[str] | None = None,
    model_input: str | None = None,
    model_output: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    engine: str | None = None,
    precision: str | None = None,
    decode: str | None = None,
    copies: str | None = None,
    fusion: bool = False,
    broker: str | None = None,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    sniff: bool = False,
) -> Checkup:
    """Look at this machine, its GPU, the model, the broker and a sample of a source, and say whether a job would run.

    Nothing is made but the export of the model, and nothing is waited for beyond some deadlines. What is wrong is a
    check, and no error.

    Parameters
    ----------
    source
        What would be embedded, as for `index`: a sample of it is timed, for `seconds` at most; None for no sample.
    job
        The directory of the job, made or not: its model and its disk are meant then.
    progress
        A function that is called with an `Event` for each thing that is looked at.
    model, model_input, model_output, weights, engine, precision, decode, copies, fusion, broker, exclude, include,
    sniff
        As for `index`.

    Raises
    ------
    LookalikeError
        UsageError for arguments that don't go together, SettingsError for a setting that can't be.
    """
    require_lists("patterns", exclude=exclude, include=include)
    with extras.needed("To look at this machine"):
        from coordinator.display.terminal import text_of
        from coordinator.doctor import timing, view
        from coordinator.doctor.visit import Visit
        from coordinator.sources.choosing import Choice
    choice = Choice(tuple(exclude), tuple(include), sniff)
    if choice and source is None:
        raise UsageError("exclude, include and sniff choose among the files of a source: name one, or leave them out.")
    settings = settings_with(
        broker,
        model,
        weights,
        fusion,
        model_input=model_input,
        model_output=model_output,
        engine=engine,
        precision=precision,
        decode=decode,
        copies=copies,
    )

    def tell(event: Event) -> None:
        if progress is not None:
            progress(event)

    visit = Visit(settings, lambda line: None, lambda what: tell(Event(what, passing=True)), choice)
    given = None if source is None else os.fspath(source)
    visit.look(given, None if job is None else JobDir.at(os.fspath(job)), seconds)
    timed = {"measured": None, "prediction": None} if visit.sample is None else timing.to_json(visit.sample)
    sample = ""
    if visit.sample is not None and visit.listed is not None and visit.sample.measured["read"]:
        sample = text_of(view.sample_view(visit.sample, visit.listed))
    verdict = view.verdict_line(visit.checks)
    tell(Event(verdict))
    return Checkup(tuple(visit.checks), timed["measured"], timed["prediction"], sample, verdict)
