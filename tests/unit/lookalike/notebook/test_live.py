"""Events are shown in one place: in a notebook one output that is written anew, elsewhere lines."""

import time
from typing import Any

import IPython
import IPython.display
import pytest

import lookalike
from lookalike import Event, Live
from lookalike.notebook import shown

COUNTING = Event("1,200/3,000 images", 1_200, 3_000, passing=True)


class Handle:
    """Stands for an output of a notebook: what it was made of, and how often it was written anew."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.updated: list[str] = []

    def display(self, what: Any, *, display_id: bool) -> "Handle":
        assert display_id
        self.made.append(what._repr_html_())
        return self

    def update(self, what: Any) -> None:
        self.updated.append(what._repr_html_())


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Handle:
    handle = Handle()
    monkeypatch.setattr(IPython, "get_ipython", lambda: type("Shell", (), {"kernel": object()})())
    monkeypatch.setattr(IPython.display, "display", handle.display)
    return handle


def test_a_notebook_has_one_output_however_long_the_work_takes(output: Handle, capsys: Any) -> None:
    live = Live()
    live(Event("3,000 images in 1 partition"))
    for done in range(1_000):
        live(Event(f"{done:,}/3,000 images", done, 3_000, passing=True))
    live(Event("<all> done\nindex: Flat", 3_000, 3_000))
    assert len(output.made) == 1
    assert len(output.updated) == 1_001
    assert '<progress value="999" max="3000"' in output.updated[-2]
    assert "3,000 images in 1 partition" in output.updated[-2]
    assert "998/3,000" not in output.updated[-2]
    last = output.updated[-1]
    assert "&lt;all&gt; done<br>index: Flat" in last
    assert "progress" not in last
    assert "999/" not in last
    assert repr(live) == "3,000 images in 1 partition\n<all> done\nindex: Flat"
    assert capsys.readouterr().out == ""


def test_a_thousand_kept_sentences_are_not_all_shown(output: Handle) -> None:
    live = Live()
    for number in range(1_000):
        live(Event(f"worker {number} ended"))
    assert output.updated[-1].count("worker") == 30
    assert "… 970 earlier lines …" in output.updated[-1]
    assert "worker 999 ended" in output.updated[-1]


def test_a_file_gets_what_is_kept_and_a_line_in_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    live = Live()
    for second in range(12):
        now[0] = 100.0 + second
        live(Event(f"{second} s", passing=True))
    live(Event("done"))
    assert capsys.readouterr().out == "0 s\n10 s\ndone\n"


def test_a_terminal_gets_one_line_that_is_written_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    live = Live()
    live(Event("a line that is longer than the terminal", passing=True))
    live(Event("done"))
    assert capsys.readouterr().out == "\r\x1b[Ka line that is long\r\x1b[Kdone\n"


def test_no_program_is_taken_for_a_notebook(monkeypatch: pytest.MonkeyPatch, output: Handle) -> None:
    assert shown.is_notebook()
    monkeypatch.setattr(IPython, "get_ipython", lambda: None)
    assert not shown.is_notebook()
    monkeypatch.delitem(__import__("sys").modules, "IPython")
    assert not shown.is_notebook()


def test_a_table_escapes_and_indents() -> None:
    made = shown.table([("  a<b", "1 & 2")], ("<h>",))
    assert "&nbsp;&nbsp;&nbsp;&nbsp;a&lt;b</td>" in made
    assert "1 &amp; 2" in made
    assert "&lt;h&gt;</th>" in made


def test_the_status_is_shown_as_a_table_with_a_bar() -> None:
    from lookalike.status import BrokerStatus, IndexStatus

    facts: dict[str, Any] = {
        "job": "/jobs/<a>", "model": "m@1", "listed": 3_000, "embedded": 1_190, "failed": 10, "pending": 1_800,
        "removed": 5, "purged": 0, "reclaimable_bytes": 0, "beside_index": 0, "sources": [],
        "partitions": {"sealed": 1, "started": 1, "waiting": 0}, "images_per_second": 60.0, "eta_seconds": 30,
        "bottleneck": None, "busy": None, "index": None, "filling": None, "refused": None,
        "broker": BrokerStatus(True, [], 0, [], [], None),
    }  # fmt: skip
    told = lookalike.Status(**facts)._repr_html_()
    for part in (
        '<progress value="1200" max="3000"', "/jobs/&lt;a&gt;", "1,190 embedded, 10 failed, 1,800 pending, 5 removed",
        "1 sealed, 1 started, 0 waiting", "60 img/s, 30 s left", "none yet",
    ):  # fmt: skip
        assert part in told, part
    index = IndexStatus("0001-ab", 3_000, "Flat", 0.9912, 0.26, 2)
    told = lookalike.Status(**facts | {"index": index, "refused": "It finds less.", "eta_seconds": None})._repr_html_()
    assert "0001-ab: Flat in 2 shards, 3,000 embeddings, recall@10 0.991, 0.26 ms (p50)" in told
    assert "It finds less." in told
    assert "img/s" not in told
