"""The command line: parse, call, and hand to the terminal what came out."""

from collections.abc import Iterator
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from coordinator.commands import evaluate, import_vectors, pack, search, services, show
from coordinator.commands.demo import cut_photos, find_again
from coordinator.commands.upkeep import integrity, retry
from coordinator.display import job as display
from coordinator.display import terminal
from coordinator.display.terminal import (
    Broker,
    Engine,
    Exclude,
    Include,
    IndexMemory,
    IndexName,
    Job,
    Json,
    Recall,
    Sniff,
    err,
    out,
)
from coordinator.doctor import visit
from coordinator.jobs import activity, run
from coordinator.jobs.index_request import NOTHING_TYPED, Typed
from coordinator.jobs.progress import Progress, ProgressReader
from coordinator.jobs.run import LOOK_SECONDS, STORE_LOOK_SECONDS, Asked
from coordinator.local.resources import client_for_search, named_broker
from coordinator.sources.choosing import EVERYTHING, Choice
from shared.errors import UsageError
from shared.images.paths import expanded
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from shared.settings import Settings, load_settings
from shared.storage import home

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(wanted: bool) -> None:
    if wanted:
        out.print(f"lookalike {metadata.version('lookalike')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Find, among millions of images, the ones that match. Run the same command again to resume."""
    if (sentence := home.lend()) is not None:
        err.print(sentence)


@app.command()
def index(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder, a .tar, .zip or .parquet of images, a list of their paths (.txt, .csv, .parquet), a glob "
            "in quotes, a URL of these, or - for a list on stdin.",
        ),
    ],
    job: Annotated[Path, typer.Argument(metavar="JOB", help="Directory of the job: made, or gone on with.")],
    model: Annotated[str | None, typer.Option(help="Model name, or the path of a .keras file.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Weights file for the model, for machines without a network."),
    ] = None,
    engine: Engine = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="f32|bf16|f16",
            help="Arithmetic of a new job's model; bf16 is faster on CPUs that have it, f16 on GPUs.",
        ),
    ] = None,
    decode: Annotated[
        str | None,
        typer.Option(
            metavar="reduced|strict",
            help="How a new job decodes its images; strict: whole and linear, as the article does.",
        ),
    ] = None,
    broker: Broker = None,
    workers: Annotated[
        int,
        typer.Option(min=1, help="Embed workers to start, when no broker is given."),
    ] = 1,
    partition_size: Annotated[int | None, typer.Option(min=1, help="Images in one embed task of a new job.")] = None,
    chunk_size: Annotated[int | None, typer.Option(min=1, help="Images in one checkpoint of a new job.")] = None,
    index: IndexName = None,
    recall: Recall = None,
    index_memory: IndexMemory = None,
    accepted: Annotated[
        bool,
        typer.Option(
            "--accept-failures", help="Images that are gone, cut short or no images become failed rows, however many."
        ),
    ] = False,
    exclude: Exclude = None,
    include: Include = None,
    moved: Annotated[
        bool,
        typer.Option(
            "--moved", help="SOURCE is where the images of JOB lie now: compared, and nothing embedded again."
        ),
    ] = False,
    sniff: Sniff = False,
) -> None:
    """Embed all images of SOURCE into JOB and build its index; the same command again goes on where it stood."""
    directory = JobDir.at(job)
    settings = load_settings().changed(
        broker_url=broker,
        model=model,
        weights=weights,
        engine=engine,
        precision=precision,
        decode=decode,
        partition_size=partition_size,
        chunk_size=chunk_size,
    )
    typed = Typed(index, recall, index_memory)
    choice = Choice(tuple(exclude or ()), tuple(include or ()), sniff)
    sizes = (partition_size, chunk_size)
    index_job(source, directory, settings, workers, sizes, typed, accepted, choice, broker, moved)


def index_job(
    source: str,
    job: JobDir,
    settings: Settings,
    workers: int = 1,
    sizes: tuple[int | None, int | None] = (None, None),
    typed: Typed | None = None,
    accepted: bool = False,
    choice: Choice = EVERYTHING,
    typed_broker: str | None = None,
    moved: bool = False,
) -> Progress:
    """What `index` does, also for the demo; returns the progress at the end.

    The arguments are those of `run.Asked`; `typed_broker` is the --broker of the command.
    """
    asked = Asked(source, job, settings, workers, sizes, typed or NOTHING_TYPED, accepted, choice, moved)
    with terminal.interruptible(job), terminal.IndexView(job, named_broker(settings, typed_broker)) as view:
        return run.index(asked, view.tell)


@app.command()
def status(
    job: Job,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and follow until the job is done.")] = False,
    as_json: Json = False,
    broker: Annotated[
        str | None,
        typer.Option("--broker", metavar="URL", help="Redis that knows who works; left out: the embedded one, if up."),
    ] = None,
) -> None:
    """Say how far a job is, from its directory alone, and who is at work on it, if a broker answers."""
    if watch and as_json:
        raise UsageError("--watch and --json don't go together: run `status --json` again and again instead.")
    directory = JobDir.at(job)
    settings = load_settings().changed(broker_url=broker)
    reader = ProgressReader(directory, load_manifest(directory))
    if watch:
        terminal.watch(_frames(directory, reader, settings), STORE_LOOK_SECONDS if directory.in_store else LOOK_SECONDS)
    progress, found = reader.read(), activity.look(directory, reader.manifest.identity, settings)
    if as_json:
        terminal.show_json(progress.to_json() | {"broker": found.to_json()})
        return
    for line in [*display.status_lines(progress), *display.at_work_lines(found, reader.manifest.partition_count)]:
        out.print(line)


def _frames(job: JobDir, reader: ProgressReader, settings: Settings) -> Iterator[tuple[RenderableType, str]]:
    """What `status --watch` shows, a view and a line, until the job is done."""
    while not (progress := reader.read()).index_is_current:
        lines = display.at_work_lines(
            activity.look(job, reader.manifest.identity, settings), reader.manifest.partition_count
        )
        line = " · ".join([display.one_line(progress), *(" ".join(line.split()) for line in lines)])
        yield display.live_view(progress, display.rate_line(progress), lines), line


for command in (
    search.search, evaluate.evaluate, integrity.verify, integrity.repair, integrity.rollback, retry.retry,
    services.worker, services.flower, show.show, visit.doctor,
):  # fmt: skip
    app.command()(command)
app.command("import")(import_vectors.import_)
app.command()(pack.pack)


@app.command()
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
    err.print(f"{cut.photos:,} photos, cut from {cut.photographs} photographs, in {cut.folder}")
    job = JobDir.at(directory / "job")
    progress = index_job(str(cut.folder), job, load_settings())
    with ExitStack() as stack, err.status("Starting a query worker …") as status:
        client = client_for_search(stack, job, load_settings())
        result = find_again(
            directory,
            job,
            cut,
            client,
            progress,
            lambda count: status.update(f"Searching … {count} of {len(cut.queries)}"),
        )
    out.print(display.demo_view(cut, result, progress))


def main() -> None:
    """Entry point: exit status 0 done, 1 could not be done, 2 wrong usage, 130 interrupted."""
    terminal.run(app)
