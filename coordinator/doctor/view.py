"""Show a line for each check of `doctor`, the times of the sample by stage, and the estimate for the whole source."""

import textwrap
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from coordinator.doctor.checks import Check, Verdict
from coordinator.doctor.estimate import SESSION_SECONDS, Prediction
from coordinator.doctor.source_sample import ListedSource
from coordinator.doctor.timing import TimedSample
from shared.text import duration, size

_STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.PROBLEM: "bold red"}
_VERDICT, _SUBJECT = 9, 12
_LEAST_WIDTH = 40


def check_text(check: Check, width: int | None) -> Text:
    """One check: a single line if `width` is None, else folded to that many columns below its own beginning."""
    sentence = " ".join(check.sentence.split()) if width is None else check.sentence
    indent = _VERDICT + _SUBJECT
    if width is not None:
        column = max(_LEAST_WIDTH, width - indent)
        lines = [
            line
            for part in sentence.splitlines()
            for line in textwrap.wrap(part, column, break_long_words=False, break_on_hyphens=False) or [""]
        ]
        sentence = f"\n{' ' * indent}".join(lines)
    text = Text(f"{check.verdict:<{_VERDICT}}", style=_STYLES[check.verdict])
    return text.append(f"{check.subject:<{_SUBJECT}}{sentence}", style="default")


def verdict_line(checks: Sequence[Check]) -> str:
    """The last line: whether a job would run."""
    problems = sum(check.verdict == Verdict.PROBLEM for check in checks)
    warnings = sum(check.verdict == Verdict.WARNING for check in checks)
    counts = [_count(problems, "problem"), _count(warnings, "warning")]
    told = " and ".join(text for text in counts if text)
    if problems:
        return f"{told}: a job would not run as it is."
    return f"{told}: a job would run." if told else "All is well."


def _count(number: int, word: str) -> str:
    return "" if not number else f"{number} {word}{'' if number == 1 else 's'}"


def sample_view(sample: TimedSample, listed: ListedSource) -> RenderableType:
    """The times of the sample by stage, and the estimate for the whole."""
    measured = sample.measured
    title = (
        f"Sample: {measured['read']:,} of {listed.count:,} images, in runs of neighbours from all over the source, "
        f"in {measured['seconds']:.1f} s, {measured['threads']} threads"
    )
    table = Table(title=Text(title, style="bold"), title_justify="left", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("stage")
    for heading in ("an image", "busy", "waited for"):
        table.add_column(heading, justify="right")
    per_image = {stage: measured["spent"][stage] / max(1, measured["read"]) for stage in ("read", "decode", "model")}
    table.add_row("list", _milliseconds(listed.seconds / max(1, listed.count)), "", "")
    for stage, seconds in per_image.items():
        busy, held = ("", "") if sample.load is None else (sample.load.busy[stage], sample.load.held_up[stage])
        slowest = sample.load is not None and sample.load.bottleneck == stage
        table.add_row(stage, _milliseconds(seconds), _percent(busy), _percent(held), style="bold" if slowest else "")
    if sample.prediction is None:
        return table
    return Group(table, "", *_whole(sample.prediction, listed))


def _whole(prediction: Prediction, listed: ListedSource) -> Iterator[RenderableType]:
    least = "" if listed.complete else "at least "
    yield Text(
        f"The whole: {least}{prediction.images:,} images, in one embed worker on a machine like this", style="bold"
    )
    for name, value in _figures(prediction):
        yield Text(f"{name:<{_VERDICT + _SUBJECT}}{value}")


def _figures(prediction: Prediction) -> Iterator[tuple[str, str]]:
    slow = "longer" if prediction.high == float("inf") else duration(prediction.high)
    yield "time", f"{duration(prediction.seconds)} ({duration(prediction.low)} to {slow})"
    features = f", features {size(prediction.features)}" if prediction.features else ""
    yield (
        "disk",
        f"{size(prediction.kept)}: embeddings {size(prediction.embeddings)}, metadata and paths "
        f"{size(prediction.metadata)}, index {size(prediction.index)}{features}; at its largest "
        f"{size(prediction.disk)}",
    )
    yield (
        "memory",
        f"{size(prediction.memory)}: embed worker {size(prediction.embed_memory)}, merge worker "
        f"{size(prediction.merge_memory)}",
    )
    hours = f"{SESSION_SECONDS / 3600:g} hours"
    if prediction.sessions is None:
        yield f"sessions of {hours}", "none is long enough for one chunk: take a faster machine, or a smaller chunk"
    else:
        yield "Colab", f"{prediction.sessions:,} session{'' if prediction.sessions == 1 else 's'} of {hours}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def _percent(share: float | str) -> str:
    return share if isinstance(share, str) else f"{share:.0%}"
