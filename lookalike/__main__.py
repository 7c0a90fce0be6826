"""Run the command `lookalike`, also as `python -m lookalike`."""

import sys

from lookalike import extras, finding


def main() -> None:
    """Run the command that was typed; exit status 0 done, 1 could not be done, 2 wrong usage, 130 interrupted."""
    finding.for_command()
    try:
        from coordinator.cli import main as run
        from shared.processes.lean import be_lean
    except ModuleNotFoundError as error:
        if (extra := extras.of(error)) is None:
            raise
        if sys.argv[1:] == ["--version"]:
            import lookalike

            sys.stdout.write(f"lookalike {lookalike.__version__}\n")
            return
        _refuse(
            f"This is the client alone, for `import lookalike` in programs, without {error.name}, which the commands "
            f"need: pip install 'lookalike[{extra}]' to watch, search and send work through a broker, or "
            "'lookalike[worker]' to embed here as well."
        )
    except ImportError as error:  # A module that was imported before ours hides one of our packages or libraries.
        _refuse(str(error))
    be_lean()
    run()


def _refuse(sentence: str) -> None:
    sys.stderr.write(f"lookalike: {sentence}\n")
    raise SystemExit(2)


if __name__ == "__main__":
    main()
