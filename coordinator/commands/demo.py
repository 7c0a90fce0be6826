"""The command `lookalike demo`: index real photographs from installed packages, and find them from altered copies."""

import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from coordinator.client.client import Client
from coordinator.client.matches import proven
from coordinator.commands.index import index_job
from coordinator.display.hits import hits_text
from coordinator.display.pages.contact_sheet import write_contact_sheet
from coordinator.display.pages.sheet_rows import sheet_row, sizes_of
from coordinator.display.terminal import err, out
from coordinator.jobs.progress import Progress
from coordinator.local.demo_photos import DemoPhotos, DemoQuery, cut_photos
from coordinator.local.resources import client_for_search
from shared.errors import CorruptFile
from shared.images.paths import expanded, to_os_path
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.job.partition import ledger
from shared.messages.search import Answer, Hit
from shared.messages.verified import AUTO
from shared.settings import load_settings

K = 10
_WAIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Found:
    """How often an alteration's copies found their original first, and among the first ten."""

    alteration: str
    queries: int
    first: int
    in_ten: int


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo measured. `recall_at_10` compares the index with exact search, for the altered copies.

    Of the copies that the page shows, `proven` were proven to show their original, and of the strangers `wrong` ones
    something.
    """

    found: list[Found]
    recall_at_10: float
    milliseconds: float
    images_per_second: float
    example: DemoQuery
    hits: tuple[Hit, ...]
    sheet: Path
    proven: int
    wrong: int


def find_again(
    directory: Path, job: JobDir, cut: DemoPhotos, client: Client, progress: Progress, searched: Callable[[int], None]
) -> DemoResult:
    """Search with every altered copy, measure, and write the contact sheet. `searched` is called with the number
    done.
    """
    answers = _answers(client, cut.queries, searched)
    truth = _answers(client, cut.queries, exact=True)
    shown = [*cut.verified, *cut.strangers]
    verified = _answers(client, shown, verify=AUTO)  # These copies were embedded just now, so only comparing is left.
    pairs = list(zip(shown, verified, strict=True))
    agreed = sum(len(_ids(answer) & _ids(exact)) for answer, exact in zip(answers, truth, strict=True))
    wanted = sum(len(exact.hits) for exact in truth)
    result = DemoResult(
        found=_by_alteration(cut.queries, answers),
        recall_at_10=agreed / wanted,
        milliseconds=sum(answer.milliseconds for answer in answers) / len(answers),
        images_per_second=_images_per_second(job),
        example=cut.queries[0],
        hits=verified[0].hits[:5],
        sheet=directory / "contact-sheet.html",
        proven=sum(any(_is_original(query, hit) for hit in proven(answer)) for query, answer in pairs),
        wrong=sum(bool(proven(answer)) for query, answer in pairs if query.original is None),
    )
    sizes = sizes_of(open_job(job), verified)
    rows = [
        sheet_row(query.path, query.alteration, answer, sizes, partial(_is_original, query) if query.original else None)
        for query, answer in pairs
    ]
    write_contact_sheet(result.sheet, "lookalike demo", rows, _summary(cut, result, progress))
    return result


def _answers(
    client: Client, queries: Sequence[DemoQuery], searched: Callable[[int], None] = lambda count: None, **how: Any
) -> list[Answer]:
    answers = []
    for reply in client.enqueue([query.path for query in queries], K, **how):
        answers.append(reply.answer(_WAIT_SECONDS))
        searched(len(answers))
    return answers


def _ids(answer: Answer) -> set[int]:
    return {hit.id for hit in answer.hits}


def _is_original(query: DemoQuery, hit: Hit) -> bool:
    return query.original is not None and os.path.samefile(to_os_path(hit.image_path), query.original)


def _by_alteration(queries: Sequence[DemoQuery], answers: Sequence[Answer]) -> list[Found]:
    ranks: dict[str, list[int]] = {}
    for query, answer in zip(queries, answers, strict=True):
        rank = next((hit.rank for hit in answer.hits if _is_original(query, hit)), 0)
        ranks.setdefault(query.alteration, []).append(rank)
    return [
        Found(alteration, len(found), sum(rank == 1 for rank in found), sum(rank > 0 for rank in found))
        for alteration, found in ranks.items()
    ]


def _images_per_second(job: JobDir) -> float:
    """Images a second of one embed worker, from reading to checkpoint, as the seals record it."""
    seals = list(ledger.sealed(open_job(job)))
    if not seals:
        raise CorruptFile(f"{job.path} has no sealed partition, though its index is built: use a new folder.")
    return sum(seal.listed for seal in seals) / sum(seal.seconds for seal in seals)


def _summary(cut: DemoPhotos, result: DemoResult, progress: Progress) -> list[tuple[str, str]]:
    total = sum(found.queries for found in result.found)
    index = progress.index
    return [
        ("photos indexed", f"{progress.embedded:,}"),
        ("altered copies searched", f"{total:,}"),
        ("original found first", f"{sum(found.first for found in result.found) / total:.1%}"),
        ("accuracy@10", f"{sum(found.in_ten for found in result.found) / total:.1%}"),
        ("recall@10 against exact search", f"{result.recall_at_10:.3f}"),
        ("index", "none" if index is None else index.type),
        ("proven, of the copies below", f"{result.proven} of {len(cut.verified)}"),
        ("proven, of what is not there", f"{result.wrong} of {len(cut.strangers)}"),
    ]


def demo(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIRECTORY", help="Where photos, job and contact sheet go; left out: ./lookalike-demo."),
    ] = Path("lookalike-demo"),
) -> None:
    """Index about a thousand real photographs, find them again from altered copies, and show what came out."""
    directory = expanded(directory).resolve()
    with err.status("Cutting photographs that scikit-image and scikit-learn carry …"):
        cut = cut_photos(directory)
    err.print(str(cut))
    job = JobDir.at(directory / "job")
    progress = index_job(str(cut.folder), job, load_settings())
    with ExitStack() as stack, err.status("Starting a query worker …") as status:
        client = client_for_search(stack, job, load_settings())
        searching = f"of {len(cut.queries)}"
        result = find_again(
            directory, job, cut, client, progress, lambda count: status.update(f"Searching … {count} {searching}")
        )
    out.print(demo_view(cut, result, progress))


def demo_view(cut: DemoPhotos, result: DemoResult, progress: Progress) -> RenderableType:
    """The result that the demo prints at its end."""
    table = Table(title="Altered copies that found their original", title_justify="left", title_style="bold", box=None)
    table.add_column("alteration")
    for heading in ("copies", "found first", "accuracy@10"):
        table.add_column(heading, justify="right")
    for found in result.found:
        shares = (f"{found.first / found.queries:.1%}", f"{found.in_ten / found.queries:.1%}")
        table.add_row(found.alteration, str(found.queries), *shares)
    copies = sum(found.queries for found in result.found)
    first = sum(found.first for found in result.found) / copies
    in_ten = sum(found.in_ten for found in result.found) / copies
    table.add_row("all", str(copies), f"{first:.1%}", f"{in_ten:.1%}", style="bold")
    index = "" if progress.index is None else f"{progress.index.type} index of {progress.index.ntotal:,} embeddings"
    of = "" if result.example.original is None else f" of {result.example.original.name}"
    best = hits_text(result.hits, f"Best five hits of one copy ({result.example.alteration}){of}")
    figures = Text(
        f"embedding   {result.images_per_second:,.0f} images a second in one worker, from file to checkpoint\n"
        f"index       {index}\n"
        f"recall@10   {result.recall_at_10:.3f} against exact search, over these {copies} copies\n"
        f"verdicts    {result.proven} of {len(cut.verified)} copies are proven to show their original, and of "
        f"{len(cut.strangers)} pictures that are not there {result.wrong or 'none'}\n"
        f"query       {result.milliseconds:.1f} ms in the worker (mean, in batches; embedding the copy included)"
    )
    sheet = Text(f"contact sheet (open it in a browser): {result.sheet}", style="bold")
    page = Text(f"drop an image on its page: lookalike serve {shlex.quote(progress.job)}", style="bold")
    return Group("", table, "", best, "", figures, "", sheet, page)
