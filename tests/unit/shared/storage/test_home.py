import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from shared.images.paths import expanded
from shared.storage import home, scratch


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's directory for temporary files is one of this test."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of this user has no entry in passwd."""

    def gone(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", gone)


@pytest.mark.parametrize("given", [None, "", "~", "relative/home"])
@pytest.mark.usefixtures("unknown")
def test_who_has_no_home_and_no_entry_gets_a_private_one_and_is_told(
    given: str | None, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {} if given is None else {"HOME": given})
    sentence = home.lend(os.environ)
    place = temporary / f"lookalike-{os.getuid()}" / "home"
    assert os.environ["HOME"] == str(place)
    assert (place.stat().st_mode & 0o777, place.parent.stat().st_mode & 0o777) == (0o700, 0o700)
    assert sentence is not None
    assert str(place) in sentence
    assert "set HOME to a directory" in sentence
    assert home.lent(os.environ) == sentence
    assert home.lend(os.environ) is None  # As the processes do that are started from here.
    assert Path.home() == place


@pytest.mark.usefixtures("unknown")
def test_a_container_that_gives_the_root_for_a_home_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for writable, expected in ((True, "/"), (False, str(scratch.private_path() / "home"))):
        monkeypatch.setattr(os, "access", lambda path, mode, writable=writable: writable)
        environ = {"HOME": "/"}
        assert (home.lend(environ) is None) == writable
        assert environ["HOME"] == expected


def test_who_has_a_home_keeps_it(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"HOME": "/not/there/yet"}
    assert home.lend(environ) is None
    assert home.lent(environ) is None
    assert environ == {"HOME": "/not/there/yet"}
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pwd.struct_passwd(("me", "x", uid, 0, "", "/home/me", "")))
    for given in ({}, {"HOME": ""}, {"HOME": "here"}):
        assert home.lend(given) is None
        assert given["HOME"] == "/home/me"
    assert not list(temporary.iterdir())


@pytest.mark.usefixtures("unknown")
def test_a_place_of_somebody_elses_is_never_taken_for_a_home(temporary: Path) -> None:
    mine = scratch.private_path()
    mine.mkdir(mode=0o777)
    mine.chmod(0o777)
    with pytest.raises(PermissionError, match="remove it, or set TMPDIR to another one"):
        home.lend({})


def test_the_home_of_nobody_is_a_path_as_it_stands() -> None:
    assert expanded(Path("~no-such-user-here/x")) == Path("~no-such-user-here/x")
    assert expanded(Path("~/x")) == Path(os.path.expanduser("~/x"))


_NOBODY = """
import pwd, sys
def gone(uid): raise KeyError(uid)
pwd.getpwuid = gone
from coordinator.cli import main
sys.argv = ["lookalike", *sys.argv[1:]]
main()
"""


def test_a_command_of_a_user_without_home_and_entry_runs_and_doctor_says_where_things_are_kept(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    work = tmp_path / "work"
    work.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", _NOBODY, "doctor", "--json", "--model", "efficientnet-b0"],
        env=environment,
        cwd=work,
        capture_output=True,
        text=True,
        timeout=100,
    )
    place = tmp_path / f"lookalike-{os.getuid()}" / "home"
    assert f"kept in {place}" in ran.stderr
    assert "Traceback" not in ran.stderr
    checks = {check["subject"]: check for check in json.loads(ran.stdout)["checks"]}
    assert checks["home"]["verdict"] == "warning"
    assert str(place) in checks["home"]["sentence"]
    assert str(place) in json.dumps(checks["cache"])
    assert not list(work.iterdir())
