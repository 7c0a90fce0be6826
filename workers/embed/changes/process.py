"""Make one change in a process of its own: `python -m workers.embed.changes.process JOB` prints what it did.

The process reads the message of the change on standard input. It holds the lock of the job itself: whether what started
it lives on makes no difference to the job.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.job.directory import JobDir
from shared.messages.changes import ChangeJob
from shared.processes.stage import exit_status, say
from shared.settings import load_settings
from workers.embed.changes.apply import apply


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the change that the message on standard input asks for, and print its reply."""
    parser = argparse.ArgumentParser(prog="python -m workers.embed.changes.process")
    parser.add_argument("job", type=Path)
    options = parser.parse_args(arguments)

    def run() -> None:
        message = ChangeJob.from_json(json.load(sys.stdin))
        say(result=apply(JobDir.at(options.job), message, load_settings()).to_json())

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
