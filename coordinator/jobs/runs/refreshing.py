"""Refresh the sources of a job one after the other, or add one, and tell what came of it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO, Final

from coordinator.jobs.changes.refresh import add_source, refresh
from coordinator.jobs.changes.refreshed import LISTS, Refreshed, is_refreshed
from coordinator.jobs.runs.events import Doing, Said, Tell
from coordinator.sources import resolve
from coordinator.sources.choosing import Choice
from coordinator.sources.listing import SNIFF_HINT
from shared.errors import JobBusy, SourceError
from shared.job.manifest import Source
from shared.job.opened import OpenJob
from shared.job.source.moved import read_moved

COMPARING: Final = "Comparing the source with what was listed"
_BUSY_SECONDS: Final = 2.0


def counting(what: str, tell: Tell) -> Callable[[int], None]:
    """A function that tells how many images there are so far."""
    tell(Doing(f"{what} …"))
    return lambda count: tell(Doing(f"{what} … {count:,} so far"))


def said_of(left_out: Mapping[str, int], notes: Mapping[str, int]) -> Iterator[str]:
    """What was not listed of a source, and what was taken for something else than an image."""
    if left_out:
        yield "not listed: " + ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
    if "without suffix" in left_out:
        yield SNIFF_HINT
    if notes:
        yield "noted: " + ", ".join(f"{count:,} {what}" for what, count in notes.items())
    if (missing := resolve.hint(notes)) is not None:
        yield missing


def add(source: str, job: OpenJob, choice: Choice, stdin: BinaryIO | None, tell: Tell) -> OpenJob:
    """Add a source to a job, and tell what was listed; returns the job as it is then. Raises as `add_source` does."""
    told = counting("Listing images", tell)
    found = _waiting(job, tell, lambda: add_source(source, job, choice, told, stdin))
    job = job.renewed()
    added = job.sources[-1]
    sentences = [*found.notes, f"{_place(job, len(job.sources) - 1)}: {found}", *said_of(added.left_out, added.notes)]
    for sentence in sentences:
        tell(Said(sentence))
    return job


def refresh_sources(
    job: OpenJob, typed: str | None, number: int | None, yes: bool, stdin: BinaryIO | None, tell: Tell
) -> list[SourceError]:
    """Refresh the source of this number, of which `typed` was typed; for None all of a job, and tell what was found.

    A list on standard input, a place behind a URL and a source that can't be compared are left as they are: the errors
    of the last are returned, when there are other sources, so that one that is away keeps none of the others.
    """
    wanted = range(len(job.sources)) if number is None else [number]
    left = [
        one for one in wanted if number is None and (job.sources[one].kind == "stdin" or not is_refreshed(job, one))
    ]
    for one in left:
        tell(Said(_why_left(job, one)))
    # A source may let go of an image that another one has as well, which is to come later: lists do so most.
    order = sorted(set(wanted) - set(left), key=lambda one: (job.sources[one].kind not in LISTS, one))
    found: dict[int, Refreshed] = {}
    failed: list[SourceError] = []
    repeated: set[int] = set()
    while order:
        one = order.pop(0)
        told = counting(COMPARING, tell)
        try:
            news = _waiting(job, tell, lambda: refresh(typed, job, told, number=one, yes=yes, stdin=stdin))  # noqa: B023
        except SourceError as error:
            if len(wanted) == 1:
                raise
            failed.append(error)
            continue
        for sentence in filter(None, [*news.notes, str(news)]):
            tell(Said(sentence if len(job.sources) == 1 else f"{_place(job, one)}: {sentence}"))
        if news.gone and len(job.sources) > 1:
            if number is not None and job.sources[one].kind in LISTS:
                tell(Said("What this list names no more and another source has comes back when that one is refreshed."))
            again = [earlier for earlier, before in found.items() if before.elsewhere and earlier not in repeated]
            order, repeated = order + again, repeated.union(again)
        found[one] = news
    return failed


def _place(job: OpenJob, number: int) -> str:
    source: Source = job.sources[number]
    return "the list on standard input" if source.kind == "stdin" else read_moved(job).now(source.location)


def _why_left(job: OpenJob, number: int) -> str:
    """Why a source of a job is not refreshed with the others."""
    if job.sources[number].kind == "stdin":
        return "The list that came from standard input is compared when it is given there again, with - as the source."
    return f"{_place(job, number)} is behind a URL, and is not listed again."


def _waiting(job: OpenJob, tell: Tell, act: Callable[[], Refreshed]) -> Refreshed:
    """What `act` returns; where another process changes the job just now, once that has ended."""
    while True:
        try:
            return act()
        except JobBusy:
            tell(Doing(f"Waiting until another process has changed {job.path} …"))
            time.sleep(_BUSY_SECONDS)


def one_error(errors: Sequence[SourceError]) -> SourceError:
    """One error for those of several sources."""
    first, *others = errors
    if not others:
        return first
    return SourceError(" ".join([*map(str, others), first.found]), remedy=first.remedy)
