"""Register the commands of `lookalike`, and run the one that was typed."""

import sys
from collections.abc import Iterable
from importlib import import_module, metadata
from typing import Annotated, Final

import typer

from coordinator.display import terminal
from coordinator.display.terminal import err, out
from shared.storage import home

COMMANDS: Final = {
    "index": "index",
    "status": "status",
    "search": "search",
    "evaluate": "evaluate",
    "verify": "upkeep.integrity",
    "repair": "upkeep.integrity",
    "rollback": "upkeep.integrity",
    "retry": "upkeep.retry",
    "add": "upkeep.add",
    "delete": "upkeep.delete",
    "duplicates": "upkeep.duplicates",
    "compact": "upkeep.compact",
    "export": "upkeep.export",
    "worker": "services.workers",
    "flower": "services.workers",
    "serve": "services.serve",
    "show": "show",
    "doctor": "doctor",
    "import": "import_vectors",
    "pack": "pack",
    "demo": "demo",
}
"""The commands in the order of the help, and the module below `coordinator.commands` that each is in."""


def _say_version(wanted: bool) -> None:
    if wanted:
        out.print(f"lookalike {metadata.version('lookalike')}")
        raise typer.Exit


def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Find, among millions of images, the ones that match. Run the same command again to resume."""
    if (sentence := home.lend()) is not None:
        err.print(sentence)


def application(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with the commands of these names. Only their modules are imported, as all take half a second."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options)
    for name in names:
        module = import_module(f"coordinator.commands.{COMMANDS[name]}")
        app.command(name)(getattr(module, "import_" if name == "import" else name))
    return app


def main() -> None:
    """Entry point: exit status 0 done, 1 could not be done, 2 wrong usage, 130 interrupted."""
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    # Everything else that may be typed shows the list of commands, or a name that is like what was typed.
    terminal.run(application([first] if first in COMMANDS else [] if first == "--version" else COMMANDS))
