"""Show a job as lines and as a live view, in text and Rich objects; the command line prints them."""

import shlex
from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from coordinator.display.bundle import status_line
from coordinator.display.remedies import command, typed
from coordinator.jobs.activity import Activity
from coordinator.jobs.progress import Progress
from coordinator.jobs.reconcile import Look
from shared.broker.lease import COPIES, shard_of
from shared.errors.remedy import Remedy
from shared.job.index.calibration import PUBLISHED, Calibration
from shared.job.index.filling import Filling
from shared.job.partition.features.counted import FeaturesCount
from shared.text import duration, size

NOTABLE: Final = 0.1
"""The share of the sealed files that a compaction has to free to be worth a line."""


def partitions_line(progress: Progress) -> str:
    """The partitions by state, in words."""
    parts = progress.partitions
    return f"{parts['sealed']} sealed, {parts['started']} started, {parts['waiting']} waiting"


def activity(look: Look, broker: str = "") -> str:
    """What happens while no rate is known; `broker` names the broker that was given, and what gave it.

    Each wait names the broker: a REDIS_URL may belong to another project, whose broker answers but has no workers of
    ours.
    """
    if look.broker_error is not None:
        which = f"the broker {broker}" if broker else "the broker"
        return f"{which} does not answer ({look.broker_error}); waiting for it"
    waits = "" if look.holders or not broker else f": waiting for a worker at {broker}"
    if look.progress.complete:
        if look.progress.index_is_current and look.progress.lacks_features:
            return f"{features_line(look.progress)}{waits}"
        filling, copies_done = look.progress.filling, look.progress.copies_done
        if filling is not None:
            return f"building the index: {shards_line(filling)}{waits}"
        return f"{'building the index' if copies_done else 'embedding altered copies, to measure the index by'}{waits}"
    if not look.progress.pending:
        return f"all embedded; sealing{waits}"
    if look.holders:
        at_work = "1 partition" if len(look.holders) == 1 else f"{len(look.holders):,} partitions"
        return f"{at_work} at work; the rate shows with the first checkpoints"
    return f"waiting for a worker at {broker}" if broker else "waiting for a worker"


def shards_line(filling: Filling) -> str:
    """How many shards of a build are full."""
    count = len(filling.ranges)
    return f"{count - len(filling.missing):,} of {count:,} shards full"


def features_line(progress: Progress) -> str:
    """How far what tells copies apart is stored, while it is made of images that are embedded."""
    features = progress.features
    assert features is not None
    whole = features.partitions + len(features.lacking)
    return f"storing what tells copies apart: {features.partitions:,} of {whole:,} partitions"


def rate_line(progress: Progress) -> str:
    """The rate and the time left, or what happens instead."""
    if progress.is_whole:
        return "done"
    if progress.index_is_current and progress.lacks_features:
        return features_line(progress)
    if progress.beside:
        return "all embedded"
    if not progress.pending:
        building = "all embedded; sealing and building the index"
        return f"{building}: {shards_line(progress.filling)}" if progress.filling else building
    if progress.images_per_second is None or progress.eta_seconds is None:
        return "no image committed lately"
    line = f"{progress.images_per_second:,.0f} img/s · {duration(progress.eta_seconds)} left"
    return f"{line} · {progress.load}" if progress.load else line


def one_line(progress: Progress, activity: str | None = None) -> str:
    """A job's progress in one line, for logs and pipes; `activity` takes the place of the rate while none is known."""
    state = (
        activity if activity and progress.images_per_second is None and not progress.is_whole else rate_line(progress)
    )
    return (
        f"{progress.done:,}/{progress.held:,} images · {progress.failed:,} failed · {state} · "
        f"partitions: {partitions_line(progress)}"
    )


def live_view(progress: Progress, doing: str, more: Sequence[str] = ()) -> RenderableType:
    """The view that `index` and `status --watch` keep on the screen; `doing` takes the place of the rate while none is
    known.

    `more` are lines below it.
    """
    numbers = Table.grid(padding=(0, 2))
    numbers.add_row(
        ProgressBar(total=max(progress.held, 1), completed=progress.done, width=40),
        Text(f"{progress.done / max(progress.held, 1):.0%}", style="bold"),
        f"{progress.done:,}/{progress.held:,} images",
        Text(f"{progress.failed:,} failed", style="red" if progress.failed else "dim"),
    )
    state = rate_line(progress) if progress.images_per_second or progress.is_whole else doing
    detail = Text(f"{state}   ·   partitions: {partitions_line(progress)}", style="dim")
    return Group(numbers, detail, *(Text(line) for line in more))


def status_lines(progress: Progress) -> list[str]:
    """The lines that `status` prints about a job."""
    images = f"{progress.listed:,} listed, {progress.embedded:,} embedded, {progress.failed:,} failed"
    return [
        f"job         {progress.job}",
        *([] if progress.bundle is None else [status_line(progress.bundle)]),
        f"model       {progress.model}",
        *([] if progress.fusion is None else [f"fusion      {progress.fusion.text}"]),
        *(f"source      {location}" for _, location in progress.sources if len(progress.sources) > 1),
        f"images      {images}, {progress.pending:,} pending{_removed(progress)}",
        f"partitions  {partitions_line(progress)}",
        f"rate        {rate_line(progress)}",
        f"index       {index_line(progress)}",
        *([] if progress.calibration is None else [f"chances     {chances_line(progress.calibration)}"]),
        *([] if progress.features is None else [f"copies      {copies_line(progress.features)}"]),
        *([] if progress.bundle is None else [f"similarity  {progress.bundle.error_text}"]),
        *_compaction(progress),
    ]


def _compaction(progress: Progress) -> list[str]:
    """The line that says what a compaction would free, where that is much."""
    if progress.reclaimable < NOTABLE * progress.sealed_bytes or not progress.reclaimable:
        return []
    frees = (
        f"about {size(progress.reclaimable)}, {progress.reclaimable / progress.sealed_bytes:.0%} of the sealed files"
    )
    return [f"compaction  {command(Remedy('compact', progress.job))} frees {frees}".replace("%", " %")]


def _removed(progress: Progress) -> str:
    return f", {progress.removed:,} removed" if progress.removed else ""


def activity_lines(at_work: Activity, partitions: int) -> list[str]:
    """The lines that say what the broker knows of a job of so many partitions; one line if it does not answer."""
    if at_work.error is not None:
        return [f"broker      {at_work.error}; what workers hold is not known"]
    held = [f"{_held(holder.what, partitions)}: {holder.owner}" for holder in at_work.holders]
    waiting = "1 message" if at_work.waiting == 1 else f"{at_work.waiting:,} messages"
    troubles = [f"trouble     {trouble.owner}: {typed(trouble.error)}" for trouble in at_work.troubles]
    lines = [*(f"at work     {line}" for line in held or ["nobody"]), f"waiting     {waiting}"]
    if any(queries != "all" for queries in at_work.queries):
        queries = [queries if queries == "all" else f"shards {queries}" for queries in at_work.queries]
        lines.append(f"queries     {', '.join(queries)}")
    return [*lines, *troubles]


def _held(what: str, partitions: int) -> str:
    """What a lease is on; a partition is counted from 1, as in Flower, a shard from 0, as it is typed."""
    if what == COPIES:
        return "altered copies"
    if (shard := shard_of(what)) is not None:
        return f"shard {shard}"
    return f"partition {int(what) + 1:,} of {partitions:,}" if what.isdigit() else what


def index_line(progress: Progress) -> str:
    """The promoted index, or why there is none."""
    index = progress.index
    if index is None:
        return "none yet: it is built when all partitions are sealed"
    size = f"{index.build}: {index.type}, {index.ntotal:,} embeddings"
    if index.shards:
        size += f" in {len(index.shards):,} shard{'s' if len(index.shards) > 1 else ''}"
    verdicts = "" if progress.calibration is None else progress.calibration.verdicts.text
    told = [size, index.recall_text, index.accuracy_text, verdicts, f"{index.p50_ms:.2f} ms a query (p50)"]
    line = ", ".join(part for part in told if part)
    if progress.beside and not progress.refused:
        them = "embedding that was added since is" if progress.beside == 1 else "embeddings that were added since are"
        until = ", until a merge adds them" if progress.bundle is None else ""
        return f"{line}; {progress.beside:,} {them} searched beside it{until}"
    if progress.index_is_current:
        return f"{line}; {index.shortfall}: {index.farther.sentence(command)}" if index.shortfall else line
    return f"{line}; " + (
        progress.refused.refused if progress.refused else "older than the embeddings, or than what was asked for"
    )


def chances_line(found: Calibration) -> str:
    """What the chances of similar hits rest on, or why these get none."""
    if not found.measured:
        return f"none: {found.reason}"
    nothing = (
        f"nothing above chance is said of {found.nothing_there:.0%} of copies whose original is there, and of "
        f"{found.nothing_absent:.0%} of others"
    ).replace("%", " %")
    if found.measured == PUBLISHED:
        return f"published ones, as on {found.originals:,} other photographs {nothing}: {found.reason}"
    return f"measured on {found.copies:,} altered copies of {found.originals:,} images: {nothing}"


def copies_line(features: FeaturesCount) -> str:
    """Of how many images is stored what tells their copies apart, of which it is not and why, and what it takes."""
    each = f", {features.bytes / features.images:,.0f} bytes each" if features.images else ""
    line = f"what tells them apart is stored of {features.images:,} images{each}"
    if features.without:
        reasons = ", ".join(f"{count:,} {why}" for why, count in sorted(features.without.items()))
        line += f"; {sum(features.without.values()):,} have none ({reasons})"
    if features.lacking:
        count = len(features.lacking)
        line += f"; {count:,} sealed partition{'s lack' if count > 1 else ' lacks'} it yet"
    return line


def finished_lines(progress: Progress, job: str) -> list[str]:
    """The last lines of `index`: what was built, and how to search it."""
    failed = f", {progress.failed:,} failed (each with its reason in {job}/errors/)" if progress.failed else ""
    return [
        f"{progress.embedded:,} of {progress.listed:,} images embedded{failed}{_removed(progress)}",
        f"index {index_line(progress)}",
        *([] if progress.features is None else [f"copies: {copies_line(progress.features)}"]),
        f"Search it:  lookalike search {shlex.quote(job)} IMAGE",
    ]


def imported_lines(progress: Progress, job: str) -> list[str]:
    """What `import` says at its end: what was built, and how to search it, which an image can't do here."""
    assert progress.index is not None
    return [
        f"index {index_line(progress)}",
        f"Search it:  lookalike search {shlex.quote(job)} --vector FILE.npy   (floats [{progress.index.dim}])",
    ]
