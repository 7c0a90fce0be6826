"""The command `lookalike search`: send images or vectors as queries, and show the hits of each."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from coordinator.client.client import Client
from coordinator.client.image_ids import ids_in
from coordinator.client.queries import Queryable, as_query
from coordinator.client.stored_query import is_image_id, stored_embedding
from coordinator.commands.options import Broker, Job
from coordinator.display import hits, terminal
from coordinator.display.bundle import approximate_line
from coordinator.display.remedies import typed
from coordinator.display.terminal import err, out
from coordinator.local.resources import client_for_search
from shared.broker.url import redacted
from shared.errors import ImageError, LookalikeError, QueryError, UsageError
from shared.images.paths import expanded
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.job.partition.committed import require_embedded
from shared.messages.filter import Filter
from shared.messages.search import MAX_K, Answer
from shared.settings import Settings, load_settings


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
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of tables.")] = False,
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
    settings = load_settings().changed(broker_url=broker)
    directory = JobDir.at(job)
    bundle = None
    if not settings.broker_url or directory.spec.is_file():
        opened = open_job(directory)
        bundle = opened.manifest.bundle
        require_embedded(opened)
    asked: list[tuple[str, Queryable]] = [(image, _queryable(directory, image)) for image in images or ()]
    asked += [] if vector is None else vectors_in(vector)
    names = [name for name, _ in asked]
    filter = Filter.of(None if ids is None else ids_in(ids), where)
    with ExitStack() as stack, terminal.waiting(_whom_for(settings)) as waiting:
        client = client_for_search(stack, directory, settings)
        waiting.update("Waiting for the answers of the query worker; the first ones load the model …")
        answers = answers_of(client, [query for _, query in asked], k, exact, filter, timeout, partial)
    if as_json:
        terminal.show_json(hits.search_json(names, answers))
    else:
        for name, answer in zip(names, answers, strict=True):
            if answer.error is None:
                out.print(hits.hits_table(name, answer))
    if client.identity is None and (line := hits.by_name_line(answers)):
        err.print(line, markup=False)
    if bundle is not None:
        err.print(approximate_line(bundle, exact=exact))
    if line := hits.searched_line(answers):
        err.print(line)
    if fewer := hits.fewer_line(answers, k, filtered=filter is not None):
        err.print(fewer)
    failed = [(name, answer.error) for name, answer in zip(names, answers, strict=True) if answer.error is not None]
    for name, error in failed:
        err.print(f"lookalike: {name}: {typed(error)}", markup=False)
    if failed:
        raise SystemExit(1)


def _whom_for(settings: Settings) -> str:
    if settings.broker_url:
        return f"Waiting for the broker {redacted(settings.broker_url)} …"
    return "Starting a query worker …"


def _queryable(job: JobDir, image: str) -> Queryable:
    """The query for an IMAGE that was typed; as in `show`, a number is the id of an image of the job."""
    if not is_image_id(image):
        return image
    if os.path.exists(image):
        err.print(f"{image} is taken for an image id of the job; the file is ./{image}")
    if not job.spec.is_file():
        raise QueryError(
            f"{image} is an image id, and {job.path} is not on this machine to be asked for its embedding: name the "
            "image itself, or ./NAME for a file."
        )
    return stored_embedding(open_job(job), image)


def answers_of(
    client: Client,
    queries: Sequence[Queryable],
    k: int,
    exact: bool,
    filter: Filter | None,
    timeout: float,
    partial: bool = False,
) -> list[Answer]:
    """An answer for each query in order; a query that can't be read or answered has its error there."""
    answers: list[Answer] = []
    pending = []
    for query in queries:
        try:
            pending.append(as_query(query))
            answers.append(Answer())
        except LookalikeError as error:
            answers.append(Answer(error=error))
    replies = iter(client.enqueue_queries(pending, k, exact=exact, filter=filter, partial=partial))
    for position, answer in enumerate(answers):
        if answer.error is None:
            try:
                answers[position] = next(replies).answer(timeout)
            except (ImageError, QueryError) as error:
                answers[position] = Answer(error=error)
    return answers


def vectors_in(path: Path) -> list[tuple[str, Queryable]]:
    """The vectors of a .npy file with a name for each; raises QueryError when it holds something else."""
    try:
        with open(expanded(path), "rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise QueryError(f"The query vectors {path} can't be read as .npy: {error}.") from None
    if array.ndim not in (1, 2) or array.dtype.kind != "f" or not array.size:
        raise QueryError(
            f"The query vectors {path} are {array.dtype} {list(array.shape)}; expected a float array [d] or [q, d]."
        )
    if array.ndim == 1:
        return [(str(path), array)]
    return [(f"{path}[{number}]", row) for number, row in enumerate(array)]
