"""Worker processes that a command starts for itself."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coordinator.local.workers import LocalWorkers
from shared.settings import Settings


def test_a_query_worker_of_a_command_holds_all_shards_whatever_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    def popen(command: list[str], env: dict[str, str], **options: Any) -> Any:
        started.append((command, env))
        return SimpleNamespace(poll=lambda: 0, wait=lambda seconds: 0)

    monkeypatch.setattr(subprocess, "Popen", popen)
    with LocalWorkers(["query"], Settings(broker_url="redis://host", shards="0-3"), tmp_path):
        ((command, environment),) = started
    assert command[command.index("--queues") + 1] == "query"
    assert "LOOKALIKE_SHARDS" not in environment
    assert environment["LOOKALIKE_BROKER_URL"] == "redis://host"
