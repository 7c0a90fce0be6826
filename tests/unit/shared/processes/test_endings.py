"""How a process ended, in words."""

import signal
import subprocess
import sys

import pytest

from shared.processes.stage import ending


@pytest.mark.parametrize(
    ("code", "words"), [("sys.exit(3)", "exit status 3"), ("os.kill(os.getpid(), signal.SIGSEGV)", "signal SIGSEGV")]
)
def test_a_process_ended_as_is_said(code: str, words: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import os, signal, sys; {code}"], check=False)
    assert ending(done.returncode) == words


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="This system has no real-time signals.")
def test_a_signal_without_a_name_is_its_number() -> None:
    assert ending(-(signal.SIGRTMIN + 2)) == f"signal {signal.SIGRTMIN + 2}"
