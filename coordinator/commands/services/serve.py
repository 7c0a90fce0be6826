"""The command `lookalike serve`: answer searches over HTTP."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from coordinator.commands.options import Broker
from coordinator.display import terminal
from coordinator.display.terminal import out
from shared.errors import UsageError
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.settings import load_settings
from shared.storage.stores import StorePath, any_path

_NEEDED = ("starlette", "uvicorn", "python_multipart", "prometheus_client", "cachetools")


def serve(
    job: Annotated[
        Path | None, typer.Argument(metavar="JOB", help="Directory of the one job to serve; or --jobs-root.")
    ] = None,
    jobs_root: Annotated[Path | None, typer.Option(help="Serve every job in this directory or URL.")] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address; only this machine reaches the default. Others take --keys.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 8000 if left out, 0 for any.")] = None,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Answer only with a key of FILE: lines NAME read KEY or NAME write KEY."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another name that clients may call it by. Repeatable."),
    ] = None,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Fetch query images from URLs of clients, from public addresses alone.")
    ] = False,
    broker: Broker = None,
) -> None:
    """Search JOB, or all jobs of a directory, over HTTP; the API is described at /docs."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"{missing[0]} is not installed, which the server needs: pip install 'lookalike[serve]'.")
    settings = load_settings().changed(broker_url=broker, http_port=port)
    directory = None
    if job is not None:
        if jobs_root is not None:
            raise UsageError("JOB and --jobs-root don't go together: name one job, or the directory of all.")
        directory = JobDir.at(job)
        open_job(directory)
        root = directory.jobs_root
    else:
        given = jobs_root or settings.jobs_root
        if given is None:
            raise UsageError("There is nothing to serve: name a JOB, or --jobs-root DIR for all jobs in a directory.")
        root = any_path(given)
        if not isinstance(root, StorePath):
            root = root.expanduser().resolve()
            if not root.is_dir():
                raise UsageError(f"The jobs root {root} is no directory on this machine: mount or make it first.")
    # Imported here: they are not installed everywhere.
    from coordinator.serve.guard.ending import leave_threads
    from coordinator.serve.server import Asked
    from coordinator.serve.server import serve as answer

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("lookalike").setLevel(logging.INFO)
    # They say of each malformed request what the line of the request says already.
    for name in ("python_multipart", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.ERROR)
    asked = Asked(settings, root, directory, host, settings.http_port, keys, allow_host or (), allow_urls)
    try:
        with terminal.ending_in_order(lambda: ["The server ended."]):
            answer(
                asked,
                lambda place: out.print(f"{place} serves {job or root}: open it in a browser (Ctrl-C ends it)"),
            )
    except SystemExit as ended:
        leave_threads(int(ended.code or 0))
        raise
