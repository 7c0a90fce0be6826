"""The command `lookalike index`: create or resume a job, until its index is promoted."""

from pathlib import Path
from typing import Annotated

import typer

from coordinator.commands.options import (
    Broker,
    Copies,
    Engine,
    Exclude,
    Fusion,
    Include,
    IndexMemory,
    IndexName,
    Model,
    ModelInput,
    ModelOutput,
    Recall,
    ShardMemory,
    Shards,
    Sniff,
    Weights,
)
from coordinator.display import run_view, terminal
from coordinator.jobs.index_request import NOTHING_TYPED, Typed
from coordinator.jobs.progress import Progress
from coordinator.jobs.runs import index_run
from coordinator.jobs.runs.index_run import Asked
from coordinator.local.resources import named_broker
from coordinator.sources.choosing import EVERYTHING, Choice
from shared.job.directory import JobDir
from shared.settings import ON, Settings, load_settings


def index(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder, a .tar, .zip or .parquet of images, a list of their paths (.txt, .csv, .parquet), a glob "
            "in quotes, a URL of these, or - for a list on stdin.",
        ),
    ],
    job: Annotated[
        Path | None,
        typer.Argument(
            metavar="JOB",
            help="Directory of the job: made, or gone on with; given alone: all its sources.",
        ),
    ] = None,
    model: Model = None,
    model_input: ModelInput = None,
    model_output: ModelOutput = None,
    weights: Weights = None,
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
    copies: Copies = None,
    fusion: Fusion = False,
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
    shards: Shards = None,
    shard_memory: ShardMemory = None,
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
    frozen: Annotated[
        bool, typer.Option("--frozen", help="A new job keeps to what is listed now, whatever comes to SOURCE or goes.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove images that are gone from SOURCE also if they are more than a fifth.")
    ] = False,
    add: Annotated[
        bool, typer.Option("--add", help="Take SOURCE into JOB, which is there, beside the sources that it has.")
    ] = False,
) -> None:
    """Embed all images of SOURCE into JOB and build its index; the same command again continues where it stood, and
    then takes up what came to SOURCE, changed or went.
    """
    given, directory = (None, JobDir.at(source)) if job is None else (source, JobDir.at(job))
    settings = load_settings().changed(
        broker_url=broker,
        fusion=ON if fusion else None,
        model=model,
        model_input=model_input,
        model_output=model_output,
        weights=weights,
        engine=engine,
        precision=precision,
        decode=decode,
        copies=copies,
        partition_size=partition_size,
        chunk_size=chunk_size,
    )
    typed = Typed(index, recall, index_memory, shards, shard_memory)
    choice = Choice(tuple(exclude or ()), tuple(include or ()), sniff)
    sizes = (partition_size, chunk_size)
    index_job(
        given, directory, settings, workers, sizes, typed, accepted, choice, broker, moved, frozen or None, yes, add
    )


def index_job(
    source: str | None,
    job: JobDir,
    settings: Settings,
    workers: int = 1,
    sizes: tuple[int | None, int | None] = (None, None),
    typed: Typed | None = None,
    accepted: bool = False,
    choice: Choice = EVERYTHING,
    typed_broker: str | None = None,
    moved: bool = False,
    frozen: bool | None = None,
    yes: bool = False,
    add: bool = False,
) -> Progress:
    """Do what `index` does, also for the demo; returns the progress at the end.

    The arguments are those of `index_run.Asked`; `typed_broker` is the --broker of the command.
    """
    typed = typed or NOTHING_TYPED
    asked = Asked(source, job, settings, workers, sizes, typed, accepted, choice, moved, frozen, yes, add)
    with terminal.interruptible(job), run_view.RunView(job, named_broker(settings, typed_broker)) as view:
        return index_run.index(asked, view.tell)
