"""The command `lookalike search`: send images or vectors as queries, and show the hits of each."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from coordinator.client.client import Client
from coordinator.client.image_ids import ids_in
from coordinator.client.matches import is_found, why_unknown
from coordinator.client.queries import Queryable, as_query, vectors_in
from coordinator.client.stored_query import is_image_id, stored_embedding, stored_query
from coordinator.commands.options import Broker, FinerInput, FinerOutput, Job, new_file
from coordinator.display import hits, terminal
from coordinator.display.bundle import approximate_line
from coordinator.display.pages.report import Thumbnail
from coordinator.display.pages.thumbnails import make_thumbnails
from coordinator.display.remedies import typed
from coordinator.display.terminal import err, out
from coordinator.local.resources import client_for_search
from coordinator.serve.page.searched import LONGEST, Searched
from shared.broker.url import redacted
from shared.errors import ImageError, LookalikeError, QueryError, UsageError
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.job.partition.committed import require_embedded
from shared.messages.filter import Filter
from shared.messages.finer import Finer
from shared.messages.query import Query
from shared.messages.search import MAX_K, Answer
from shared.messages.verified import ALWAYS, AUTO, MAX_VIEWS, NEVER, PLAIN, VERIFY, Verify
from shared.settings import Settings, load_settings

# What a picture is looked for by that may be cropped, pasted in or one of several.
_MATCH_VIEWS = 6
_NOT_THERE = 3


def search(
    job: Job,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE",
            help="Query images: files, URLs, images in an archive, photos.tar::a/b.jpg, or ids of images of the job.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=MAX_K, help="Hits for each query.")] = 10,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Compare with every embedding, without the index."),
    ] = False,
    where: Annotated[
        str | None,
        typer.Option(metavar="EXPRESSION", help='Only images whose metadata fits: "width >= 1000 and bytes < 100000".'),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Only images whose ids are in FILE, one a line or a .npy; - for stdin."),
    ] = None,
    vector: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npy", help="Query vectors, one or a row each, beside or instead of images."),
    ] = None,
    verify: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(VERIFY),
            help="Compare the pictures of the nearest images with the query's, and say which are the same. auto: where "
            "one is near enough for doubt, and until the next ones are others; left out: auto, with --match always.",
        ),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_VIEWS,
            help="Search for the image and for parts of it: the pictures on it, its centre, its corners; left out: 1, "
            f"with --match {_MATCH_VIEWS}.",
        ),
    ] = None,
    match: Annotated[
        bool,
        typer.Option(
            "--match", help="Only images that show the same picture; exit status 0 found, 3 not there, 1 not known."
        ),
    ] = False,
    finer: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A second model that orders the nearest images too: a name, a .keras or an .onnx file.",
        ),
    ] = None,
    finer_input: FinerInput = None,
    finer_output: FinerOutput = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of tables.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE.html", help="Write a page with the hits, to compare them on.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open that page in a browser.")] = False,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Answer also where no worker holds some shards of the index, and say which."),
    ] = False,
    broker: Broker = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answers.")] = 120.0,
) -> None:
    """Find the images of JOB most like each IMAGE."""
    if not images and vector is None:
        raise UsageError("There is nothing to search for: name an IMAGE, or --vector FILE.npy.")
    if ids is not None and where is not None:
        raise UsageError("--ids and --where don't go together: write the ids into the expression, id IN (3, 5, 8).")
    if verify not in (None, *VERIFY):
        raise UsageError(f"--verify is {verify}; expected one of {', '.join(VERIFY)}.")
    if match and verify == NEVER:
        raise UsageError("--match and --verify never don't go together: without verdicts nothing is known to match.")
    page = None if html is None else new_file(html, ".html", "The page")
    how = Verify(verify or (ALWAYS if match else AUTO), views or (_MATCH_VIEWS if match else 1))
    settings = load_settings().changed(broker_url=broker, finer_input=finer_input, finer_output=finer_output)
    model = None if finer is None else Finer.of(finer, settings.finer_input, settings.finer_output)
    directory = JobDir.at(job)
    bundle = None
    if not settings.broker_url or directory.spec.is_file():
        opened = open_job(directory)
        bundle = opened.manifest.bundle
        require_embedded(opened)
    asked: list[tuple[str, Queryable | Query]] = [
        (image, _queryable(directory, image, to_compare=how.how != NEVER or model is not None))
        for image in images or ()
    ]
    asked += [] if vector is None else vectors_in(vector)
    names = [name for name, _ in asked]
    filter = Filter.of(None if ids is None else ids_in(ids), where)
    with ExitStack() as stack, terminal.waiting(_whom_for(settings)) as waiting:
        client = client_for_search(stack, directory, settings)
        waiting.update("Waiting for the answers of the query worker; the first ones load the model …")
        queries = [query for _, query in asked]
        answers = answers_of(client, queries, k, exact, filter, timeout, partial, how, model)
    if as_json:
        terminal.show_json(hits.search_json(names, answers, matching=match))
    else:
        for name, answer in zip(names, answers, strict=True):
            if match and is_found(answer) is not None:
                out.print(hits.matches_table(name, answer, k))
            elif not match and answer.error is None:
                out.print(hits.hits_table(name, answer))
    if page is not None or open_it:
        here = open_job(directory) if directory.spec.is_file() else None
        _show_page(Searched(directory.job_id, here, asked, answers, k, filter is not None, match), page, open_it)
    told = [answer for answer in answers if not match or is_found(answer)]
    for line in (*hits.verdict_lines(told), *hits.finer_lines(told)):
        err.print(line)
    if client.identity is None and (line := hits.by_name_line(answers)):
        err.print(line, markup=False)
    if bundle is not None:
        err.print(approximate_line(bundle, exact=exact))
    if line := hits.searched_line(answers):
        err.print(line)
    if not match and (fewer := hits.fewer_line(answers, k, filtered=filter is not None)):
        err.print(fewer)
    status = 0
    for name, answer in zip(names, answers, strict=True):
        if answer.error is not None:
            err.print(f"lookalike: {name}: {typed(answer.error)}", markup=False)
            status = 1
        elif match and is_found(answer) is None:
            err.print(f"lookalike: {name}: it is not known whether it is there. {why_unknown(answer)}", markup=False)
            status = 1
        elif match and not is_found(answer):
            status = status or _NOT_THERE
    if status:
        raise SystemExit(status)


def _show_page(searched: Searched, page: Path | None, open_it: bool) -> None:
    if page is None:
        handle, name = tempfile.mkstemp(".html", "lookalike-")  # It has to outlive this command: a browser opens it.
        os.close(handle)
        page = Path(name)
    made: dict[int, Thumbnail] = {}
    if searched.job is None:
        err.print("The job is not on this machine, so the page has no pictures of it.")
    else:
        with terminal.waiting(f"Making {len(searched.shown_ids):,} thumbnails …"):
            made = make_thumbnails(searched.job, searched.shown_ids, LONGEST)
    searched.write_page(page, made)
    err.print(f"page: {page}")
    if open_it:
        typer.launch(str(page))


def _whom_for(settings: Settings) -> str:
    if settings.broker_url:
        return f"Waiting for the broker {redacted(settings.broker_url)} …"
    return "Starting a query worker …"


def _queryable(job: JobDir, image: str, *, to_compare: bool) -> Queryable | Query:
    """The query for an IMAGE that was typed; as in `show`, a number is the id of an image of the job, whose picture is
    read `to_compare` it."""
    if not is_image_id(image):
        return image
    if os.path.exists(image):
        err.print(f"{image} is taken for an image id of the job; the file is ./{image}")
    if not job.spec.is_file():
        raise QueryError(
            f"{image} is an image id, and {job.path} is not on this machine to be asked for its embedding: name the "
            "image itself, or ./NAME for a file."
        )
    return stored_query(open_job(job), image) if to_compare else stored_embedding(open_job(job), image)


def answers_of(
    client: Client,
    queries: Sequence[Queryable | Query],
    k: int,
    exact: bool,
    filter: Filter | None,
    timeout: float,
    partial: bool = False,
    verify: Verify = PLAIN,
    finer: Finer | None = None,
) -> list[Answer]:
    """An answer for each query in order; a query that can't be read or answered has its error there."""
    answers: list[Answer] = []
    pending = []
    for query in queries:
        try:
            pending.append(query if isinstance(query, Query) else as_query(query))
            answers.append(Answer())
        except LookalikeError as error:
            answers.append(Answer(error=error))
    asking = {"exact": exact, "partial": partial}
    sent = client.enqueue_queries(pending, k, filter=filter, verify=verify, finer=finer, **asking)
    replies = iter(sent)
    for position, answer in enumerate(answers):
        if answer.error is None:
            try:
                answers[position] = next(replies).answer(timeout)
            except (ImageError, QueryError) as error:
                answers[position] = Answer(error=error)
    return answers
