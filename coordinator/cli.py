"""The command line: parse, call, print. The only module that prints."""

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from coordinator import display
from coordinator.client import Client, as_query
from coordinator.demo import cut_photos, find_again
from coordinator.indexing import Step, run_job
from coordinator.local import flower_command, worker_command
from coordinator.making import make_or_open, require_sizes
from coordinator.progress import Progress, ProgressReader
from coordinator.workforce import broker_for_exec, client_for_search, workers_for_index
from shared.broker import redacted
from shared.errors import ImageError, LookalikeError, NoIndexYet, QueryError, UsageError
from shared.jobdir import JobDir
from shared.manifest import load_manifest
from shared.messages import MAX_K, QUEUES, Answer
from shared.settings import Settings, load_settings, without_settings

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find, among millions of images, the ones that match. Run the same command again to resume.",
)
# What is printed holds paths and log lines: nothing in them may be taken for markup or an emoji's name.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        metavar="URL",
        help="Redis that carries the messages; left out: an embedded one is started.",
    ),
]
_LINE_SECONDS = 10.0


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which is to end as orderly as Ctrl-C does."""


@app.command()
def index(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A folder of images, a .txt list of paths, or - for a list on stdin."),
    ],
    job: Annotated[Path, typer.Argument(metavar="JOB", help="Directory of the job: made, or gone on with.")],
    model: Annotated[str | None, typer.Option(help="Model name, or the path of a .keras file.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Weights file for the model, for machines without a network."),
    ] = None,
    broker: Broker = None,
    workers: Annotated[
        int,
        typer.Option(min=1, help="Embed workers to start, when no broker is given."),
    ] = 1,
    partition_size: Annotated[int | None, typer.Option(min=1, help="Images in one embed task of a new job.")] = None,
    chunk_size: Annotated[int | None, typer.Option(min=1, help="Images in one checkpoint of a new job.")] = None,
) -> None:
    """Embed all images of SOURCE into JOB and build its index; the same command again goes on where it stood."""
    directory = JobDir.at(job)
    settings = load_settings().changed(
        broker_url=broker,
        model=model,
        weights=weights,
        partition_size=partition_size,
        chunk_size=chunk_size,
    )
    index_job(source, directory, settings, workers, (partition_size, chunk_size))


def index_job(
    source: str,
    job: JobDir,
    settings: Settings,
    workers: int = 1,
    sizes: tuple[int | None, int | None] = (None, None),
) -> Progress:
    """What `index` does, also for the demo; returns the progress at the end. `sizes` are those that were typed."""
    with _interruptible(job, _typed()):
        with err.status("Listing images …") as status:
            manifest = make_or_open(
                source,
                job,
                settings,
                lambda count: status.update(f"Listing images … {count:,} so far"),
            )
        require_sizes(job, manifest, *sizes)
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in manifest.source.left_out.items())
        err.print(
            f"{manifest.listed:,} images in {manifest.partition_count:,} "
            f"partition{'s' if manifest.partition_count > 1 else ''}; model {manifest.model.fingerprint}"
        )
        if left_out:
            err.print(f"not listed: {left_out}")
        progress = ProgressReader(job, manifest).read()
        if not progress.index_is_current:
            with ExitStack() as stack:
                settings, children = workers_for_index(stack, job, settings, progress, workers)
                progress = _show_until_done(run_job(job, manifest, settings, children))
        for line in display.finished_lines(progress, str(job.path)):
            err.print(line)
        return progress


def _typed() -> str:
    """The command as it was typed, to be typed again; a password in a broker's URL is left out."""
    return shlex.join(["lookalike", *(redacted(word) if "://" in word else word for word in sys.argv[1:])])


def _show_until_done(steps: Iterator[Step]) -> Progress:
    """Show each step, live on a terminal and as a line every ten seconds elsewhere; returns the last progress."""
    progress: Progress | None = None
    shown = -_LINE_SECONDS
    live = Live(console=err, auto_refresh=False, transient=True) if err.is_terminal else None
    try:
        with live or nullcontext():
            for step in steps:
                progress = step.look.progress
                for notice in step.notices:
                    err.print(notice, style="yellow")
                if live is not None:
                    live.update(
                        display.live_view(progress, display.activity(step.look)),
                        refresh=True,
                    )
                elif time.monotonic() - shown >= _LINE_SECONDS:
                    shown = time.monotonic()
                    err.print(display.one_line(progress, display.activity(step.look)))
    except KeyboardInterrupt:
        err.print("Stopping; the batch under way ends first …")
        raise
    assert progress is not None
    return progress


@contextmanager
def _interruptible(job: JobDir, command: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into an orderly end that says what is safe and how to go on; exit status 130."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt:
        if not job.spec.is_file():
            err.print("Interrupted while the images were being listed; nothing was begun.")
        else:
            progress = ProgressReader(job, load_manifest(job)).read()
            err.print(f"Interrupted. {progress.done:,} of {progress.listed:,} images are safe in {job.path}.")
            err.print(f"Go on with:  {command}")
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)


@app.command()
def status(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="Directory of the job.")],
    watch: Annotated[bool, typer.Option("--watch", help="Stay and follow until the job is done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
) -> None:
    """Say how far a job is, from its directory alone: no broker is needed."""
    if watch and as_json:
        raise UsageError("--watch and --json don't go together: run `status --json` again and again instead.")
    directory = JobDir.at(job)
    reader = ProgressReader(directory, load_manifest(directory))
    if as_json:
        print(json.dumps(reader.read().to_json(), indent=2))
        return
    if watch and out.is_terminal:
        with Live(console=out, auto_refresh=False) as live:
            while not (progress := reader.read()).index_is_current:
                live.update(
                    display.live_view(progress, display.rate_line(progress)),
                    refresh=True,
                )
                time.sleep(1.0)
    elif watch:
        while not (progress := reader.read()).index_is_current:
            print(display.one_line(progress), flush=True)
            time.sleep(_LINE_SECONDS)
    for line in display.status_lines(reader.read()):
        out.print(line)


@app.command()
def search(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="Directory of the job.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Query images.")],
    k: Annotated[int, typer.Option("-k", min=1, max=MAX_K, help="Hits for each query.")] = 10,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Compare with every embedding, without the index."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of tables.")] = False,
    broker: Broker = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answers.")] = 120.0,
) -> None:
    """Find the images of JOB most like each IMAGE."""
    settings = load_settings().changed(broker_url=broker)
    directory = JobDir.at(job)
    if not settings.broker_url or directory.spec.is_file():
        load_manifest(directory)
        if not directory.current.is_file():
            raise NoIndexYet(
                f"{directory.path} has no index yet: `lookalike index` builds it, `lookalike status` says how far."
            )
    names = [str(image) for image in images]
    with ExitStack() as stack:
        client = client_for_search(stack, directory, settings)
        answers = answers_of(client, names, k, exact, timeout)
    if as_json:
        print(json.dumps(display.search_json(names, answers), indent=2))
    else:
        for name, answer in zip(names, answers, strict=True):
            if answer.error is None:
                out.print(display.hits_table(name, answer))
    failed = [(name, answer.error) for name, answer in zip(names, answers, strict=True) if answer.error is not None]
    for name, error in failed:
        err.print(f"lookalike: {name}: {error}", markup=False)
    if failed:
        raise SystemExit(1)


def answers_of(client: Client, images: list[str], k: int, exact: bool, timeout: float) -> list[Answer]:
    """An answer for each image in order; one that can't be read or decoded has its error in its answer."""
    answers: list[Answer] = []
    pending = []
    for image in images:
        try:
            pending.append(as_query(image))
            answers.append(Answer())
        except LookalikeError as error:
            answers.append(Answer(error=error))
    replies = iter(client.enqueue_queries(pending, k, exact=exact))
    for position, answer in enumerate(answers):
        if answer.error is None:
            try:
                answers[position] = next(replies).answer(timeout)
            except (ImageError, QueryError) as error:
                answers[position] = Answer(error=error)
    return answers


@app.command()
def worker(
    roles: Annotated[
        list[str],
        typer.Argument(metavar="embed|merge|query", help="What this worker takes on."),
    ],
    broker: Broker = None,
    jobs_root: Annotated[
        Path | None,
        typer.Option(help="Directory that holds the jobs; every job in it is served."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name in Flower and in leases; the host is added."),
    ] = None,
    loglevel: Annotated[
        str | None,
        typer.Option(help="DEBUG, INFO, WARNING ...; left out: as the role needs it."),
    ] = None,
) -> None:
    """Run a worker until it is stopped: it takes tasks of its roles for every job under the jobs root."""
    unknown = [role for role in roles if role not in QUEUES]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is no role of a worker: name one or several of {', '.join(QUEUES)}.")
    settings = load_settings().changed(broker_url=broker, jobs_root=jobs_root)
    if settings.jobs_root is None:
        raise UsageError("A worker must know where the jobs lie: pass --jobs-root DIR, or set LOOKALIKE_JOBS_ROOT.")
    if not settings.jobs_root.is_dir():
        raise UsageError(f"The jobs root {settings.jobs_root} is no directory on this machine: mount or make it first.")
    settings = settings.changed(jobs_root=settings.jobs_root.resolve())
    settings = broker_for_exec(settings)
    chosen = list(dict.fromkeys(roles))
    _exec(
        worker_command(chosen, name or f"{'-'.join(chosen)}-{os.getpid()}", loglevel),
        settings,
    )


@app.command()
def flower(
    broker: Broker = None,
    jobs_root: Annotated[
        Path | None,
        typer.Option(help="Watch the embedded broker of this jobs root, when no broker is given."),
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 5555 if left out.")] = None,
    address: Annotated[str, typer.Option(help="Address; only this machine reaches the default.")] = "127.0.0.1",
) -> None:
    """Watch workers and tasks in Flower, a web page."""
    settings = load_settings().changed(broker_url=broker, jobs_root=jobs_root, flower_port=port)
    try:
        import_module("flower")
    except ImportError:
        raise UsageError("Flower is not installed: install lookalike[monitor].") from None
    if not settings.broker_url and settings.jobs_root is None:
        raise UsageError(
            "Flower must know whom to watch: pass --broker URL, or --jobs-root DIR (the folder that JOB lies in) "
            "for runs without a broker of their own."
        )
    err.print(f"Flower opens at http://{address}:{settings.flower_port} (Ctrl-C ends it)")
    _exec(flower_command(address, settings.flower_port), broker_for_exec(settings))


def _exec(command: list[str], settings: Settings) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, without_settings(os.environ) | settings.to_environment())


@app.command()
def demo(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIRECTORY", help="Where photos, job and contact sheet go; left out: ./lookalike-demo."),
    ] = Path("lookalike-demo"),
) -> None:
    """Index about a thousand real photographs, find them again from altered copies, and show what came out."""
    directory = directory.expanduser().resolve()
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # A path that the terminal's encoding can't show is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        # Typer turns Ctrl-C, like the end that `--help` makes, into the status that it returns.
        status = app(prog_name="lookalike", standalone_mode=False)
    except UsageError as error:
        err.print(f"lookalike: {error}", markup=False)
        raise SystemExit(2) from None
    except LookalikeError as error:
        err.print(f"lookalike: {error}", markup=False)
        raise SystemExit(1) from None
    except (KeyboardInterrupt, typer.Abort):
        err.print("Interrupted.")
        raise SystemExit(130) from None
    except typer.TyperException as error:  # What the parser refuses; it knows how to say it.
        error.show()  # type: ignore[attr-defined]  # Typer keeps the class that has it private.
        raise SystemExit(2) from None
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; Python's own flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        err.print(f"lookalike: the system refused: {error}.", markup=False)
        raise SystemExit(1) from None
    if status == 130:
        err.print("Interrupted.")
    if status:
        raise SystemExit(status)
