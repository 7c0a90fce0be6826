"""A remedy reaches programs as an action, and the terminal as a command."""

import ast
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from coordinator import cli
from coordinator.display import hits, job_view, remedies, terminal
from coordinator.display.remedies import typed
from coordinator.integrity.findings import Finding, Kind
from coordinator.jobs.activity import Activity
from coordinator.jobs.runs.patience import hopeless
from shared.broker.troubles import Trouble, clear_troubles, report_trouble, reported_troubles
from shared.errors import (
    CorruptFile,
    ImageError,
    LookalikeError,
    NoIndexYet,
    SourceError,
    StoreError,
    error_from_json,
    error_to_json,
)
from shared.errors.remedy import ACTIONS, Action, Remedy, with_remedy
from shared.messages.search import Answer
from shared.processes.stage import result_of

ROOT = Path(__file__).parents[4]
AGAIN = Remedy("index", "/jobs/my job", "the next {} embeds it again")
REPAIR = Remedy("repair", "/jobs/my job", "takes it back", then=AGAIN)
ACCEPT = Remedy("option", does="if they are gone, {} makes failed rows of them", given={"accept_failures": ""})
COMMANDS = sorted(cli.COMMANDS)


@pytest.mark.parametrize(
    ("remedy", "words", "command"),
    [
        (Remedy("index", "/j"), "indexing", "`lookalike index`"),
        (
            Remedy("index", "/my jobs/j", given={"source": "NEWPLACE", "moved": ""}),
            "indexing NEWPLACE with moved",
            "`lookalike index NEWPLACE '/my jobs/j' --moved`",
        ),
        (Remedy("import", "/j"), "importing", "`lookalike import`"),
        (Remedy("repair", "/j"), "a repair", "`lookalike repair /j`"),
        (Remedy("repair"), "a repair", "`lookalike repair JOB`"),
        (Remedy("rollback", "/j", given={"build": "0001-a"}), "a rollback 0001-a", "`lookalike rollback /j 0001-a`"),
        (Remedy("status", "/j"), "its status", "`lookalike status /j`"),
        (Remedy("worker", given={"role": "query"}), "a query worker", "`lookalike worker query`"),
        (Remedy("pack", "/p"), "packing", "`lookalike pack`"),
        (Remedy("make"), "what made the job", "the command that made the job"),
        (
            Remedy("option", given={"index_memory": "SIZE"}),
            "the option index_memory=SIZE",
            "--index-memory SIZE",
        ),
    ],
)
def test_an_action_has_a_name_in_words_and_a_command(remedy: Remedy, words: str, command: str) -> None:
    assert (str(remedy), remedies.command(remedy)) == (words, command)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_is_a_command_that_there_is_or_none(action: Action) -> None:
    assert str(Remedy(action, "/j", given={"force": ""}))
    named = re.match(r"`lookalike ([a-z]+)", remedies.command(Remedy(action, "/j")))
    assert (named and named[1]) == (None if action in ("make", "option") else action)
    assert named is None or named[1] in COMMANDS


def test_steps_and_alternatives_are_one_half_sentence() -> None:
    assert str(REPAIR) == "a repair takes it back, and the next indexing embeds it again"
    either = Remedy("index", "/j", "the same {} goes on", otherwise=ACCEPT)
    assert str(either) == (
        "the same indexing goes on; if they are gone, the option accept_failures makes failed rows of them"
    )
    assert either.sentence(remedies.command) == (
        "the same `lookalike index` goes on; if they are gone, --accept-failures makes failed rows of them"
    )
    assert str(AGAIN.followed_by(REPAIR).followed_by(ACCEPT)).count(", and ") == 3


@pytest.mark.parametrize("kind", [CorruptFile, NoIndexYet, ImageError, StoreError])
def test_an_error_says_its_remedy_in_words_and_the_terminal_the_command(kind: type[LookalikeError]) -> None:
    error = kind("index.json is cut short", remedy=REPAIR)
    assert (error.found, error.remedy) == ("index.json is cut short", REPAIR)
    assert str(error) == "index.json is cut short: a repair takes it back, and the next indexing embeds it again."
    assert typed(error) == (
        "index.json is cut short: `lookalike repair '/jobs/my job'` takes it back, and the next `lookalike index` "
        "embeds it again."
    )


def test_an_error_without_a_remedy_is_its_sentence() -> None:
    error = CorruptFile("It is cut short.")
    assert (str(error), error.found, typed(error), error.remedy) == (*["It is cut short."] * 3, None)
    assert error_to_json(error) == {"kind": "CorruptFile", "message": "It is cut short."}
    assert typed("The embed worker ended.") == "The embed worker ended."


def test_behind_a_whole_sentence_a_remedy_is_one_of_its_own() -> None:
    assert with_remedy("Put it back.", REPAIR) == (
        "Put it back. A repair takes it back, and the next indexing embeds it again."
    )


@pytest.mark.parametrize("remedy", [REPAIR, ACCEPT, Remedy("index", otherwise=REPAIR), Remedy("make")])
def test_a_remedy_survives_the_way_through_json_and_pickle(remedy: Remedy) -> None:
    errors = (CorruptFile("It is cut short", remedy=remedy), StoreError("It does not answer", remedy=remedy))
    carried = [error_from_json(json.loads(json.dumps(error_to_json(error)))) for error in errors]
    for error, again in [*zip(errors, carried, strict=True), (errors[0], pickle.loads(pickle.dumps(errors[0])))]:
        assert type(again) is type(error)
        assert (again.found, again.remedy, str(again)) == (error.found, remedy, str(error))


@pytest.mark.parametrize(
    "table",
    [
        None,
        "repair",
        {},
        {"action": "reboot"},
        {"action": ["repair"]},
        {"action": "repair", "job": 5},
        {"action": "repair", "given": ["a"]},
        {"action": "repair", "given": {"a": 1}},
        {"action": "repair", "then": {"action": "reboot"}},
    ],
)
def test_of_a_remedy_that_this_version_does_not_know_the_sentence_stays(table: Any) -> None:
    told = {"kind": "CorruptFile", "message": "It is cut short: a reboot mends it.", "found": "It is cut short"}
    error = error_from_json(told | {"remedy": table})
    assert (str(error), error.remedy) == ("It is cut short: a reboot mends it.", None)


def test_a_reply_carries_the_remedy_beside_the_message() -> None:
    answer = Answer(error=NoIndexYet("The job has no index yet", remedy=AGAIN))
    carried = json.loads(json.dumps(answer.to_json()))
    assert carried["error"]["message"] == "The job has no index yet: the next indexing embeds it again."
    error = Answer.from_json(carried).error
    assert isinstance(error, NoIndexYet)
    assert error.remedy == AGAIN


def test_the_json_of_a_search_and_of_a_finding_has_it_too() -> None:
    answer = Answer(error=NoIndexYet("No index", remedy=AGAIN))
    (row,) = hits.search_json(["a.jpg"], [answer])
    assert (row["error"], row["remedy"]) == ("No index: the next indexing embeds it again.", AGAIN.to_json())
    found = Finding("ledger/0001.json", Kind.DAMAGE, "It is cut short.", "removed", then=AGAIN).to_json()
    assert found["sentence"] == "It is cut short. With a repair it is removed, and the next indexing embeds it again."
    assert found["remedy"] == Remedy("repair", does="with {} it is removed", then=AGAIN).to_json()
    assert "remedy" not in Finding("x", Kind.FOREIGN, "It is not ours.").to_json()


STAGE = """
from shared.errors import CorruptFile
from shared.errors.remedy import Remedy
from shared.processes.stage import exit_status
def fail():
    raise CorruptFile("It is cut short", remedy=Remedy("repair", "/j", "removes it"))
raise SystemExit(exit_status(fail))
"""


def test_the_error_of_a_stage_in_its_own_process_has_its_remedy_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_stage.py").write_text(STAGE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    with pytest.raises(CorruptFile) as failed:
        result_of("failing_stage", [], lambda said: None, what="The stage")
    assert (failed.value.found, failed.value.remedy) == ("It is cut short", Remedy("repair", "/j", "removes it"))


class Hashes:
    """Redis, as far as troubles need it."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[str, Any]] = {}

    def pipeline(self) -> "Hashes":
        return self

    def hset(self, key: str, field: str, value: str) -> None:
        self.hashes.setdefault(key, {})[field] = value

    def hincrby(self, key: str, field: str, by: int) -> None:
        self.hset(key, field, str(int(self.hashes.get(key, {}).get(field, 0)) + by))

    def expire(self, key: str, seconds: int) -> None:
        assert seconds == 60

    def execute(self) -> None:
        pass

    def hgetall(self, key: str) -> dict[str, Any]:
        return self.hashes.get(key, {})

    def delete(self, *keys: str) -> None:
        for key in keys:
            self.hashes.pop(key, None)


def test_a_trouble_has_its_remedy_until_its_worker_tells_of_another_one() -> None:
    client: Any = Hashes()
    report_trouble(client, "clothes", "embed1@a", CorruptFile("It is cut short", remedy=REPAIR))
    (trouble,) = reported_troubles(client, "clothes")
    assert trouble.sentence == "It is cut short: a repair takes it back, and the next indexing embeds it again."
    assert (trouble.error.found, trouble.error.remedy) == ("It is cut short", REPAIR)
    assert "`lookalike repair" in job_view.activity_lines(Activity(troubles=[trouble]), 1)[-1]
    report_trouble(client, "clothes", "embed1@a", OSError("The disk is full."))
    (trouble,) = reported_troubles(client, "clothes")
    assert (trouble.sentence, trouble.times, trouble.remedy) == ("The disk is full.", 2, None)
    clear_troubles(client, "clothes")
    assert client.hashes == {}


def test_when_no_worker_can_go_on_the_remedies_of_all_of_them_are_told_once() -> None:
    told = [
        Trouble("a", str(CorruptFile("B is cut short", remedy=REPAIR)), 3, "B is cut short", REPAIR),
        Trouble("b", "The disk is full.", 3),
        Trouble("c", str(SourceError("20 are not there.", remedy=ACCEPT)), 3, "20 are not there.", ACCEPT),
        Trouble("d", str(CorruptFile("C is cut short", remedy=REPAIR)), 3, "C is cut short", REPAIR),
    ]
    failed = hopeless("/jobs/my job", told)
    assert failed.found == (
        "No worker can go on with /jobs/my job: 20 are not there. B is cut short. C is cut short. The disk is full. "
        "What is committed is safe; run the same command again when that is mended."
    )
    assert failed.remedy == REPAIR.followed_by(ACCEPT)
    assert hopeless("/j", told[1:2]).remedy is None


def test_the_command_line_prints_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise CorruptFile("It is cut short", remedy=REPAIR)

    def run(**options: Any) -> Any:
        return app([], **options)

    with pytest.raises(SystemExit) as ended:
        terminal.run(run)
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"lookalike: {typed(CorruptFile('It is cut short', remedy=REPAIR))}\n"


# No text of shared and workers names what only a shell can be told: commands, and options of commands.


NAMES_A_COMMAND = re.compile(rf"\blookalike ({'|'.join(COMMANDS)})\b|`lookalike ")
NAMES_AN_OPTION = re.compile(r"[ `(\"']--[a-z]")
# Those of the coordinator that talk to who types commands, by name or folder: commands, what they show, and doctor.
FOR_WHO_TYPES = {
    "changes",  # Its last line is a command to copy.
    "cli",
    "commands",
    "display",
    "doctor",
}
ROOMS = [*ROOT.glob("shared/**/*.py"), *ROOT.glob("workers/**/*.py")]
BELOW = [path for path in ROOT.glob("coordinator/**/*.py") if not FOR_WHO_TYPES & {path.stem, *path.parts}]
# Texts that are commands by themselves, and are run or read by a shell or a parser.
PARSED = re.compile(r"--[a-z][a-z-]*(=.*)?")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The string literals of a module but its docstrings, an f-string as one text with X for what is filled in."""
    tree = ast.parse(path.read_text("utf-8"))
    passed: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            passed.add(node.value)  # Docstrings.
        if isinstance(node, ast.JoinedStr):
            passed.update(node.values)
            parts = [str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values]
            yield node.lineno, "".join(parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in passed:
            yield node.lineno, node.value


def test_no_text_of_ours_below_the_commands_names_a_command() -> None:
    assert len(ROOMS) > 50
    named = [(path, *found) for path in (*ROOMS, *BELOW) for found in texts(path) if NAMES_A_COMMAND.search(found[1])]
    assert named == []


def test_no_text_of_what_makes_and_searches_jobs_names_an_option_of_a_command() -> None:
    makes_jobs = {
        "client",
        "create",
        "embedded_broker",
        "importing",
        "indexing",
        "making",
        "moving",
        "packing",
        "sources",
    }
    rooms = [*ROOMS, *(path for path in BELOW if path.stem in makes_jobs)]
    said = [(path, *found) for path in rooms for found in texts(path) if not PARSED.fullmatch(found[1])]
    assert [found for found in said if NAMES_AN_OPTION.search(found[2])] == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x = f'{a}: `lookalike repair {b}` takes it back'", True),
        ("x = f'{a}: `lookalike ' f'{b} JOB`'", True),
        ("x = ('run lookalike '\n  'index again')", True),
        ("def f():\n    '''As `lookalike index` does.'''", False),
        ("x = 'this version of lookalike reads format 1'  # lookalike index", False),
        ("x = 'lookalike.search'", False),
    ],
)
def test_a_command_that_is_named_is_noticed(tmp_path: Path, source: str, names: bool) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert any(NAMES_A_COMMAND.search(text) for _, text in texts(path)) == names
