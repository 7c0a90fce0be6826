"""The command `lookalike doctor`: whether a job would run here, and how long a source would take."""

from pathlib import Path
from typing import Annotated

import typer

from coordinator.commands.options import (
    Copies,
    Engine,
    Exclude,
    Fusion,
    Include,
    Json,
    Model,
    ModelInput,
    ModelOutput,
    Sniff,
    Weights,
)
from coordinator.display import terminal
from coordinator.doctor.visit import Visit
from coordinator.sources.choosing import Choice
from shared.errors import UsageError
from shared.job.directory import JobDir
from shared.settings import ON, load_settings


def doctor(
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="What would be embedded: a sample of it is timed; left out: none is."),
    ] = None,
    job: Annotated[
        Path | None,
        typer.Option(
            "--job", metavar="JOB", help="The job, made or not: its model, its disk; left out: the jobs root."
        ),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option("--broker", metavar="URL", help="Redis to look at; left out: the embedded one, if it is up."),
    ] = None,
    model: Model = None,
    model_input: ModelInput = None,
    model_output: ModelOutput = None,
    weights: Weights = None,
    engine: Engine = None,
    precision: Annotated[
        str | None, typer.Option(metavar="f32|bf16|f16", help="Arithmetic of a new job's model; left out: f32.")
    ] = None,
    decode: Annotated[
        str | None, typer.Option(metavar="reduced|strict", help="How a new job decodes; left out: reduced.")
    ] = None,
    fusion: Fusion = False,
    copies: Copies = None,
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, help="Seconds that the sample of SOURCE is timed for, at most.")
    ] = 20,
    exclude: Exclude = None,
    include: Include = None,
    sniff: Sniff = False,
    as_json: Json = False,
) -> None:
    """Say whether a job would run here, and how long SOURCE would take, with a line for each check."""
    choice = Choice(tuple(exclude or ()), tuple(include or ()), sniff)
    if choice and source is None:
        raise UsageError(
            "--exclude, --include and --sniff choose among the files of SOURCE: name one, or leave them out."
        )
    settings = load_settings().changed(
        broker_url=broker,
        model=model,
        model_input=model_input,
        model_output=model_output,
        weights=weights,
        engine=engine,
        precision=precision,
        decode=decode,
        fusion=ON if fusion else None,
        copies=copies,
    )
    with terminal.telling("Looking around …", silent=as_json) as (say, doing):
        visit = Visit(settings, say, doing, choice)
        visit.look(source, None if job is None else JobDir.at(job), seconds)
    if as_json:
        terminal.show_json(visit.to_json())
    if visit.bad:
        raise SystemExit(1)
