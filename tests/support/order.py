"""Order the files of a run so that tests which wait for processes run beside tests which compute."""

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import pytest

# Of the one kind there are some forty files of half a minute, of the other ten times as many of a second or two: this
# many of them behind each leave enough for the end, at which no process is to wait for a file that takes a minute.
COMPUTING_BEHIND_EACH = 8


def mixed(items: Iterable[pytest.Item], computes: Callable[[Path], bool]) -> list[pytest.Item]:
    """`items` with whole files of those whose path `computes` behind each file of the others, in their order else."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    computing = (tests for path, tests in files.items() if computes(path))
    order: list[list[pytest.Item]] = []
    for path, tests in files.items():
        if not computes(path):
            order += [tests, *islice(computing, COMPUTING_BEHIND_EACH)]
    return [item for tests in [*order, *computing] for item in tests]
