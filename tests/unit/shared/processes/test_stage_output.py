"""What a stage in a process of its own says at its end."""

import json
import subprocess
import sys

import pytest

from shared.errors import PackError, error_from_json
from shared.processes.stage import exit_status, say


def failing(error: Exception) -> None:
    raise error


def test_a_stage_that_did_its_work_says_what_it_has_to_say_and_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(lambda: say(result={"images": 3})) == 0
    assert capsys.readouterr().out == '{"result": {"images": 3}}\n'


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (PackError("The pack is of other images."), "PackError", "The pack is of other images."),
        (OSError(5, "Input/output error"), "LookalikeError", "The system refused: [Errno 5] Input/output error."),
    ],
)
def test_an_error_is_said_so_that_it_can_be_raised_again(
    capsys: pytest.CaptureFixture[str], error: Exception, kind: str, message: str
) -> None:
    assert exit_status(lambda: failing(error)) == 1
    said = json.loads(capsys.readouterr().out)["error"]
    again = error_from_json(said)
    assert (type(again).__name__, str(again)) == (kind, message)


def test_an_error_of_ours_is_no_sentence() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: failing(ZeroDivisionError()))


def test_a_stage_whose_listener_is_gone_ends_without_a_word() -> None:
    run = "exit_status(lambda: [say(n=n) for n in range(10**6)])"
    program = f"import sys; from shared.processes.stage import exit_status, say; sys.exit({run})"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as stage:
        assert stage.stdout is not None
        assert stage.stderr is not None
        assert stage.stdout.readline() == b'{"n": 0}\n'
        stage.stdout.close()
        assert stage.stderr.read() == b""
        assert stage.wait() == 1
