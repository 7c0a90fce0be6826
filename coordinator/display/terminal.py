"""Run commands on a terminal: show progress and results, and end in order. This is the only module that prints."""

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from io import StringIO, TextIOWrapper
from types import FrameType
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.status import Status
from rich.text import Text

from coordinator.display.remedies import typed
from coordinator.display.waiting import Lasting, Waiting
from coordinator.integrity import findings
from coordinator.integrity.findings import Checked
from shared.broker.url import redacted
from shared.errors import LookalikeError, UsageError
from shared.images.paths import printable
from shared.job.directory import JobDir


# The output holds paths and log lines: nothing in them may be taken for markup or an emoji's name, and no name in them
# may move the cursor or colour the rest.
class _Console(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(_printable(thing) for thing in objects), **options)


def _printable(thing: Any) -> Any:
    if isinstance(thing, str):
        return printable(thing)
    if isinstance(thing, Text) and printable(thing.plain) != thing.plain:
        lines = (Text(printable(line.plain), line.style) for line in thing.split(allow_blank=True))
        return Text("\n").join(lines)
    return thing


out = _Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = _Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

LINE_SECONDS = 10.0


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as orderly as Ctrl-C does."""


def text_of(renderable: RenderableType, width: int = 100) -> str:
    """What a terminal of so many columns would show, as plain text."""
    # In a notebook Rich would show it there as well, were it not told that it is in none.
    shown = StringIO()
    console = _Console(
        file=shown,
        width=width,
        highlight=False,
        soft_wrap=True,
        markup=False,
        emoji=False,
        color_system=None,
        force_jupyter=False,
    )
    console.print(renderable)
    return "\n".join(line.rstrip() for line in shown.getvalue().splitlines())


def show_json(table: Any) -> None:
    """Print an object for programs on stdout."""
    print(json.dumps(table, indent=2, default=str))


def write_bytes(data: bytes) -> None:
    """Write bytes to stdout."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class _Now:
    """A text that is computed each time it is shown."""

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text

    def __rich__(self) -> Text:
        return Text(self._text())


def waiting(what: str) -> Status | Waiting:
    """Show `what` the block waits for while it runs: on a terminal at once, elsewhere in a line after two seconds."""
    return err.status(what) if err.is_terminal else Waiting(what, err.print)


def lasting(what: str) -> Status | Waiting:
    """As `waiting`, for what may take hours: elsewhere a line every ten seconds."""
    return err.status(what) if err.is_terminal else Lasting(what, err.print, again=LINE_SECONDS)


@contextmanager
def checking(checked: Checked) -> Iterator[Callable[[str], None]]:
    """Show on a terminal how much is checked while the block runs; yields a function that prints a line on stdout."""
    status = err.status(_Now(lambda: f"Checking … {findings.checked_line(checked)}"))

    def say(line: str) -> None:
        status.stop()  # On a terminal, both streams share the lines.
        out.print(line)
        status.start()

    with status:
        yield say


def how_to_go_on() -> str:
    """A line with the command as it was typed, so that it can be typed again, without the password of a broker's
    URL.
    """
    typed = shlex.join(["lookalike", *(redacted(word) if "://" in word else word for word in sys.argv[1:])])
    return f"Go on with:  {typed}"


@contextmanager
def telling(what: str, *, silent: bool) -> Iterator[tuple[Callable[[RenderableType], None], Callable[[str], None]]]:
    """Show on a terminal what happens while the block runs. Yields a function that prints on stdout (nothing if
    `silent`), and one that says what happens now.
    """
    status = err.status(what)

    def say(line: RenderableType) -> None:
        if not silent:
            status.stop()  # On a terminal, both streams share the lines.
            out.print(line)
            status.start()

    with status:
        yield say, status.update


def columns() -> int | None:
    """How wide the terminal of stdout is; None if stdout is no terminal."""
    return out.width if out.is_terminal else None


def watch(frames: Iterator[tuple[RenderableType, str]], seconds: float) -> None:
    """Show each frame: the view on a terminal, every so many `seconds`, or its line every ten seconds elsewhere."""
    live = Live(console=out, auto_refresh=False) if out.is_terminal else None
    with live or nullcontext():
        for view, line in frames:
            if live is not None:
                live.update(view, refresh=True)
                time.sleep(seconds)
            else:
                print(line, flush=True)
                time.sleep(LINE_SECONDS)


def follow(frames: Iterable[tuple[RenderableType, str]], stopping: str) -> None:
    """Show each frame as it comes: the view on a terminal, its line every ten seconds elsewhere.

    `stopping` is printed at Ctrl-C, before the frames end.
    """
    shown = -LINE_SECONDS
    live = Live(console=err, auto_refresh=False, transient=True) if err.is_terminal else None
    try:
        with live or nullcontext():
            for view, line in frames:
                if live is not None:
                    live.update(view, refresh=True)
                elif time.monotonic() - shown >= LINE_SECONDS:
                    shown = time.monotonic()
                    err.print(line)
    except KeyboardInterrupt:
        err.print(stopping)
        raise


@contextmanager
def ending_in_order(last_words: Callable[[], list[str]]) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into an orderly end that calls `last_words` and prints the result; exit status 130."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt:
        for line in last_words():
            err.print(line)
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def interruptible(job: JobDir) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end work on a job in order, and say what is safe and how to continue; exit status 130."""

    def last_words() -> list[str]:
        if not job.spec.is_file():
            return ["Interrupted while the images were being listed; nothing was begun."]
        # Imported here: they bring NumPy and Arrow, which `worker` and others start without.
        from coordinator.jobs.progress import ProgressReader
        from shared.job.opened import open_job

        progress = ProgressReader(open_job(job)).read()
        return [f"Interrupted. {progress.done:,} of {progress.listed:,} images are safe in {job.path}.", how_to_go_on()]

    with ending_in_order(last_words):
        yield


def run(app: Callable[..., Any]) -> None:
    """Run the command that was typed; exit status 0 done, 1 could not be done, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # A path that the terminal's encoding can't show is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        # Typer turns Ctrl-C, and the end after `--help`, into the status that it returns.
        status = app(prog_name="lookalike", standalone_mode=False)
    except UsageError as error:
        err.print(f"lookalike: {typed(error)}", markup=False)
        raise SystemExit(2) from None
    except LookalikeError as error:
        err.print(f"lookalike: {typed(error)}", markup=False)
        raise SystemExit(1) from None
    except (KeyboardInterrupt, typer.Abort):
        err.print("Interrupted.")
        raise SystemExit(130) from None
    except typer.TyperException as error:  # An error of the parser, which knows how to show it.
        error.show()  # type: ignore[attr-defined]  # Typer keeps the class that has it private.
        raise SystemExit(2) from None
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; Python's own flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        err.print(f"lookalike: the system refused: {error}.", markup=False)
        raise SystemExit(1) from None
    if status == 130:
        err.print("Interrupted.")
    if status:
        raise SystemExit(status)
