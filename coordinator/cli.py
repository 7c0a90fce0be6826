"""Register the commands of `lookalike`, and run the one that was typed."""

from importlib import metadata
from typing import Annotated

import typer

from coordinator.commands import demo, doctor, evaluate, import_vectors, index, pack, search, services, show, status
from coordinator.commands.upkeep import add, compact, delete, duplicates, export, integrity, retry
from coordinator.display import terminal
from coordinator.display.terminal import err, out
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


for command in (
    index.index, status.status, search.search, evaluate.evaluate, integrity.verify, integrity.repair,
    integrity.rollback, retry.retry, add.add, delete.delete, duplicates.duplicates, compact.compact, export.export,
    services.worker, services.flower, show.show, doctor.doctor,
):  # fmt: skip
    app.command()(command)
app.command("import")(import_vectors.import_)
app.command()(pack.pack)
app.command()(demo.demo)


def main() -> None:
    """Entry point: exit status 0 done, 1 could not be done, 2 wrong usage, 130 interrupted."""
    terminal.run(app)
