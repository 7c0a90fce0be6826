"""Turn the remedies of errors into commands for the shell, and into the sentences with them."""

import shlex
from collections.abc import Mapping
from typing import Final

from shared.errors import LookalikeError
from shared.errors.remedy import Remedy, with_remedy

# The words for arguments of a command that are not known.
_JOB: Final = "JOB"


def typed(error: Exception | str) -> str:
    """The sentence of an error for the terminal; a text, and the message of an error that is not ours, stay as they
    are.
    """
    return with_remedy(error.found, error.remedy, command) if isinstance(error, LookalikeError) else str(error)


def command(remedy: Remedy) -> str:
    """The command for the action of a remedy, as written in a sentence."""
    options = (" and " if remedy.action == "option" else " ").join(
        " ".join([f"--{name.replace('_', '-')}", *([_word(value)] if value else [])])
        for name, value in remedy.given.items()
        if name not in ("source", "role", "build")
    )
    if remedy.action == "option":
        return options
    if remedy.action == "make":
        return "the command that made the job"
    words = ["lookalike", remedy.action, *_arguments(remedy), *([options] if options else [])]
    return f"`{' '.join(words)}`"


def _arguments(remedy: Remedy) -> list[str]:
    job = _word(remedy.job) if remedy.job else _JOB
    given: Mapping[str, str] = remedy.given
    if remedy.action in ("index", "import", "pack"):
        # The same command as before continues, and the user has it already.
        return [_word(given["source"]), job] if "source" in given else []
    if remedy.action == "worker":
        return [given["role"]] if "role" in given else []
    return [job, *([_word(given["build"])] if "build" in given else [])]


def _word(text: str) -> str:
    return shlex.quote(text)
