"""What the programs of the benchmarks do alike."""

import argparse
import json
import os
from pathlib import Path

import pytest

from benchmarks.support import program
from shared.errors import UsageError


def test_options_have_the_place_of_the_results_and_numbers_with_commas(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=program.sizes, default="20,3,")
    program.add_work(parser)
    program.add_out(parser, tmp_path / "made.json")
    typed = parser.parse_args([])
    assert (typed.sizes, typed.work, typed.out, typed.docs) == ([3, 20], None, tmp_path / "made.json", False)
    assert parser.parse_args(["--out", "there.json", "--docs"]).out == Path("there.json")
    assert program.numbers("20,3") == [20, 3]


def test_results_begin_with_what_was_run_and_are_written_as_json(tmp_path: Path) -> None:
    made = program.head("parts", "python -m benchmarks.parts", "pytest")
    assert list(made) == ["benchmark", "made_at", "command", "machine", "load_before", "versions"]
    assert made["versions"]["pytest"] == pytest.__version__
    program.write(tmp_path / "new" / "made.json", made)
    assert json.loads((tmp_path / "new" / "made.json").read_text()) == made


def test_what_is_measured_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "require_linux", lambda: None)
    monkeypatch.setenv("LOOKALIKE_BATCH_SIZE", "3")
    found: list[str | None] = []
    assert program.run(lambda: found.append(os.environ.get("LOOKALIKE_BATCH_SIZE"))) == 0
    assert found == [None]


def test_a_benchmark_that_can_not_be_made_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure() -> None:
        raise UsageError("There is no such folder.")

    monkeypatch.setattr(program, "require_linux", lambda: None)
    assert program.run(measure) == 1
    assert capsys.readouterr().err == "The benchmark could not be made: There is no such folder.\n"


def test_tables_are_put_into_the_page_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("<!-- figures: parts -->\nold\n<!-- end of figures -->\n")
    monkeypatch.setattr(program, "PAGE", page)
    program.show({"parts": "| new |"}, docs=False)
    assert "old" in page.read_text()
    program.show({"parts": "| new |"}, docs=True)
    assert page.read_text() == "<!-- figures: parts -->\n| new |\n<!-- end of figures -->\n"
    assert capsys.readouterr().out == "| new |\n" * 2
