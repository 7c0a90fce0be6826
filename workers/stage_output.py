"""What a stage says that runs in a process of its own: one JSON object a line, and its error, as the last of them."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from shared.errors import LookalikeError, error_to_json


def say(**line: Any) -> None:
    """Say an object on stdout; whoever started this process reads it at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def say_error(error: LookalikeError) -> None:
    """Say why nothing comes of it, so that who started this process can raise the same error."""
    say(error=error_to_json(error))


def exit_status(run: Callable[[], None]) -> int:
    """The exit status of a process that does `run`: 0, or 1 once it has said what was wrong."""
    try:
        run()
    except BrokenPipeError:  # Whoever listened is gone; Python's own flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except LookalikeError as error:
        say_error(error)
        return 1
    except OSError as error:
        say_error(LookalikeError(f"The system refused: {error}."))
        return 1
    return 0
