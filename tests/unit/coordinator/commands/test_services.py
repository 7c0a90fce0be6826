"""What `lookalike worker` turns into, and what it refuses."""

import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from coordinator.cli import application
from coordinator.commands.services import workers as services


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    found: list[Any] = []

    def execve(program: str, command: list[str], environment: dict[str, str]) -> None:
        found.extend((command, environment))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(services, "broker_for_exec", lambda settings: settings)
    return found


def queues(command: list[str]) -> str:
    return command[command.index("--queues") + 1]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(application(["worker"]), ["worker", *arguments])


@pytest.mark.parametrize(
    ("arguments", "taken"),
    [
        (("query",), "query"),
        (("query", "--shards", "0-3"), "query.shards-0-3"),
        (("merge", "query", "--shards", "4-"), "merge,query.shards-4-"),
        (("merge",), "merge"),
    ],
)
def test_a_worker_takes_the_queries_of_the_shards_that_it_holds(
    became: list[Any], tmp_path: Path, arguments: tuple[str, ...], taken: str
) -> None:
    run(*arguments, "--jobs-root", str(tmp_path))
    command, environment = became
    assert queues(command) == taken
    assert environment.get("LOOKALIKE_SHARDS") == (arguments[-1] if "--shards" in arguments else None)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [(("query", "--shards", "3-1"), "names no shards"), (("merge", "--shards", "0-3"), "is for the role query")],
)
def test_shards_that_can_not_be_held_are_refused(
    became: list[Any], tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    ran = run(*arguments, "--jobs-root", str(tmp_path))
    assert ran.exit_code != 0
    assert why in str(ran.exception)
    assert not became
