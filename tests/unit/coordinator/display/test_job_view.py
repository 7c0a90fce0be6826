import io
import json
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from coordinator.display import integrity, job_view
from coordinator.display.hits import fewer_line, hits_table, search_json
from coordinator.integrity.findings import Checked, Kind
from coordinator.jobs.activity import Activity
from coordinator.jobs.reconcile import Look
from shared.broker.lease import Holder
from shared.broker.troubles import Trouble
from shared.errors import ImageError, QueryError
from shared.job.index.calibration import JOB, PUBLISHED, UNALTERED, Calibration, VerdictRow, VerdictsMeasured
from shared.job.partition.features.counted import FeaturesCount
from shared.messages.search import Answer, Hit
from shared.models.fusion import FusionTrial
from shared.processes.load import StageLoad
from tests.support.builds import info_of
from tests.support.progress import DONE, EMBEDDED, NEW, SEALED, UNDER_WAY

HELD = [Holder("embed1@here", "0")]


def shown(thing: RenderableType, width: int = 200) -> str:
    """What a person sees, on a console as the command line has it."""
    console = Console(file=io.StringIO(), width=width, highlight=False, soft_wrap=True, markup=False, emoji=False)
    console.print(thing)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("look", "text"),
    [
        (Look(NEW), "waiting for a worker"),
        (Look(NEW, HELD), "1 partition at work; the rate shows with the first checkpoints"),
        (Look(NEW, HELD * 2), "2 partitions at work; the rate shows with the first checkpoints"),
        (Look(NEW, HELD, broker_error="refused"), "the broker does not answer (refused); waiting for it"),
        (Look(EMBEDDED, HELD), "all embedded; sealing"),
        (Look(SEALED), "embedding altered copies, to measure the index by"),
        (Look(replace(SEALED, copies_done=True)), "building the index"),
        (Look(SEALED, broker_error="refused"), "the broker does not answer (refused); waiting for it"),
    ],
)
def test_what_goes_on_is_said_in_words(look: Look, text: str) -> None:
    assert job_view.activity(look) == text
    state = f" · {text} · partitions: "
    assert state in job_view.one_line(look.progress, job_view.activity(look))
    assert text in shown(job_view.live_view(look.progress, job_view.activity(look)))


BROKER = "redis://**@host:6379/0 (from REDIS_URL)"


@pytest.mark.parametrize(
    ("look", "text"),
    [
        (Look(NEW), f"waiting for a worker at {BROKER}"),
        (Look(EMBEDDED), f"all embedded; sealing: waiting for a worker at {BROKER}"),
        (Look(replace(SEALED, copies_done=True)), f"building the index: waiting for a worker at {BROKER}"),
        (Look(SEALED), f"embedding altered copies, to measure the index by: waiting for a worker at {BROKER}"),
        (Look(NEW, HELD, broker_error="refused"), f"the broker {BROKER} does not answer (refused); waiting for it"),
        (Look(NEW, HELD), "1 partition at work; the rate shows with the first checkpoints"),
        (Look(EMBEDDED, HELD), "all embedded; sealing"),
        (Look(replace(SEALED, copies_done=True), HELD), "building the index"),
    ],
)
def test_whoever_waits_for_a_worker_or_a_broker_names_the_broker_and_what_named_it(look: Look, text: str) -> None:
    assert job_view.activity(look, BROKER) == text


def test_one_line_holds_the_counts_the_rate_and_the_partitions() -> None:
    assert job_view.one_line(UNDER_WAY, "waiting for a worker") == (
        "17,500/100,000 images · 100 failed · 454 img/s · 3 min 02 s left · partitions: 0 sealed, 1 started, 1 waiting"
    )
    assert "no image committed lately" in job_view.one_line(replace(UNDER_WAY, images_per_second=None))
    assert " · done · " in job_view.one_line(DONE, "building the index")
    assert "all embedded; sealing and building the index" in job_view.one_line(SEALED)


def test_the_live_view_shows_bar_percentage_failures_and_state() -> None:
    view = shown(job_view.live_view(UNDER_WAY, "waiting for a worker"))
    for part in ("━", "18%", "17,500/100,000 images", "100 failed", "454 img/s · 3 min 02 s left", "1 started"):
        assert part in view
    assert "waiting for a worker" not in view
    assert "100%" in shown(job_view.live_view(DONE, ""))
    assert "0%" in shown(job_view.live_view(NEW, "waiting"))


def test_status_names_job_model_images_partitions_rate_and_index() -> None:
    assert job_view.status_lines(UNDER_WAY) == [
        "job         /jobs/clothes",
        "model       efficientnet-lite0@0123456789ab",
        "images      100,000 listed, 17,400 embedded, 100 failed, 82,500 pending",
        "partitions  0 sealed, 1 started, 1 waiting",
        "rate        454 img/s · 3 min 02 s left",
        "index       none yet: it is built when all partitions are sealed",
    ]


def test_the_index_comes_with_recall_and_latency() -> None:
    line = "0001-ab12cd34: IVF-PQ, 123 embeddings, recall@10 0.993 (50 queries), 0.50 ms a query (p50)"
    assert job_view.index_line(DONE) == line
    older = f"{line}; older than the embeddings, or than what was asked for"
    assert job_view.index_line(replace(DONE, index_is_current=False)) == older
    grown = replace(DONE, index_is_current=False, beside=1_200)
    since = "1,200 embeddings that were added since are searched beside it, until a merge adds them"
    assert job_view.index_line(grown) == f"{line}; {since}"
    assert job_view.rate_line(grown) == "all embedded"
    rows = [VerdictRow(UNALTERED, 8, 8, 0, 0, 0, 0, 0), VerdictRow("flip", 8, 0, 5, 2, 0, 1, 24)]
    judged = job_view.index_line(replace(DONE, calibration=Calibration("", "", verdicts=VerdictsMeasured(rows, 8))))
    assert judged == line.replace(", 0.50 ms", ", verdicts: 7 of 8 copies proven, 1 falsely, 0.50 ms")
    unread = Calibration("", "", reason="No copies.", verdicts=VerdictsMeasured(reason="No image is there."))
    assert job_view.index_line(replace(DONE, calibration=unread)) == line
    assert "chances     none: No copies." in job_view.status_lines(replace(DONE, calibration=unread))
    unmeasured = replace(DONE, index=info_of("0001-ab12cd34", recall=None))
    assert "recall@10 not measured: no image has a neighbour" in job_view.index_line(unmeasured)
    short = replace(DONE, index=replace(info_of("0001-ab12cd34"), wish={"recall": 0.997}))
    assert "; short of the recall@10 of 0.997 that was asked for" in job_view.index_line(short)


def test_the_end_says_what_was_built_and_how_to_search_it() -> None:
    lines = job_view.finished_lines(DONE, "/content/My Drive/jobs/clothes")
    assert lines[0] == (
        "99,990 of 100,000 images embedded, 10 failed (each with its reason in /content/My Drive/jobs/clothes/errors/)"
    )
    assert lines[1].startswith("index 0001-ab12cd34: IVF-PQ")
    assert lines[2] == "Search it:  lookalike search '/content/My Drive/jobs/clothes' IMAGE"
    whole = job_view.finished_lines(replace(DONE, embedded=100_000, failed=0), "job")
    assert whole[0] == "100,000 of 100,000 images embedded"


ANSWER = Answer((Hit(1, 7, "/photos/[red] :dog: [/x].jpg", 0.98765), Hit(2, 3, "/photos/b.jpg", 0.5)), 12.345)


def test_hits_are_a_table_with_paths_as_they_are() -> None:
    table = shown(hits_table("[bold]query[/] :cat:.jpg", ANSWER))
    assert "[bold]query[/] :cat:.jpg  ·  12.3 ms in the worker" in table
    rows = [line.split(maxsplit=2) for line in table.splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["1", "0.9877", "/photos/[red] :dog: [/x].jpg"],
        ["2", "0.5000", "/photos/b.jpg"],
    ]


def test_no_path_is_cut_in_two_where_the_window_is_narrow() -> None:
    path = "/photos" + "/a folder with a long name" * 9 + "/b.jpg"
    hits = tuple(Hit(rank, rank, path, 1 / rank) for rank in range(1, 12))
    _, heads, *lines = shown(hits_table("q.jpg", Answer(hits=hits, milliseconds=1.0)), width=40).splitlines()
    assert heads == " #  similarity  image"
    assert len(lines) == 11
    assert lines[0] == f" 1      1.0000  {path}"
    assert lines[10] == f"11      0.0909  {path}"


def test_an_error_stands_in_the_place_of_the_hits() -> None:
    assert shown(hits_table("q.jpg", Answer(error=QueryError("It has no pixels.")))) == ("q.jpg: It has no pixels.\n")


def test_fewer_hits_than_were_asked_for_are_said_with_their_reason() -> None:
    count = len(ANSWER.hits)
    failed = Answer(error=QueryError("No."))
    assert fewer_line([ANSWER, failed], count, filtered=False) == ""
    assert fewer_line([failed], 10, filtered=False) == ""
    assert fewer_line([failed, ANSWER], 1_000, filtered=False) == (
        f"{count} hits instead of 1,000: the job has no more embedded images."
    )
    assert "the filter leaves no more" in fewer_line([ANSWER], 1_000, filtered=True)


def test_search_json_is_the_documented_one() -> None:
    crashed = Answer(error=ImageError("It crashed.", "quarantined"))
    table = search_json(["a.jpg", "b.jpg", "c.jpg"], [ANSWER, Answer(error=QueryError("No.")), crashed])
    assert json.loads(json.dumps(table)) == [
        {
            "query": "a.jpg",
            "hits": [
                {"rank": 1, "id": 7, "image_path": "/photos/[red] :dog: [/x].jpg", "similarity": 0.98765},
                {"rank": 2, "id": 3, "image_path": "/photos/b.jpg", "similarity": 0.5},
            ],
            "milliseconds": 12.345,
        },
        {"query": "b.jpg", "hits": [], "milliseconds": 0.0, "error": "No."},
        {"query": "c.jpg", "hits": [], "milliseconds": 0.0, "error": "It crashed.", "status": "quarantined"},
    ]


def test_an_answer_for_each_query_is_expected() -> None:
    with pytest.raises(ValueError, match="zip"):
        search_json(["a.jpg"], [])


def test_who_is_at_work_is_a_line_each() -> None:
    nobody = Activity()
    assert job_view.activity_lines(nobody, 40) == ["at work     nobody", "waiting     0 messages"]
    busy = Activity(
        [Holder("embed1@here", "2"), Holder("e2@here", "copies"), Holder("merge1@here", "merge")],
        1,
        [Trouble("e@h", "No [disk].", 2)],
    )
    assert job_view.activity_lines(busy, 1_040) == [
        "at work     partition 3 of 1,040: embed1@here",
        "at work     altered copies: e2@here",
        "at work     merge: merge1@here",
        "waiting     1 message",
        "trouble     e@h: No [disk].",
    ]
    away = Activity(error="refused")
    assert job_view.activity_lines(away, 40) == ["broker      refused; what workers hold is not known"]
    assert "merge: merge1@here" in shown(job_view.live_view(UNDER_WAY, "", job_view.activity_lines(busy, 40)))


def test_a_verification_ends_in_a_verdict() -> None:
    checked = Checked(files=1, bytes=512)
    assert integrity.verdict_line(checked, "job") == "1 file, 512 B, in 0 s: nothing is damaged"
    checked.found[Kind.LEFTOVER] = 2
    assert integrity.verdict_line(checked, "job").endswith(": nothing is damaged (2 left over)")
    checked.found[Kind.UNREAD] = 1
    assert integrity.verdict_line(checked, "job").endswith(": not whole (1 unread, 2 left over)")
    checked.found[Kind.DAMAGE] = 1_000
    checked.mendable = 3
    assert integrity.verdict_line(checked, "my job").endswith(
        ": not whole (1,000 damaged, 1 unread, 2 left over); mend it with `lookalike repair 'my job'`"
    )


def test_the_rate_line_names_the_bottleneck() -> None:
    load = StageLoad(
        {"read": 0.02, "decode": 0.98, "model": 0.5, "write": 0.01},
        {"read": 0.01, "decode": 0.6, "model": 0.39, "write": 0.0},
    )
    line = job_view.rate_line(replace(UNDER_WAY, load=load))
    assert line.endswith(" left · bottleneck: decode 98% (read 2%, model 50%, write 1%)")
    assert "bottleneck" not in job_view.rate_line(UNDER_WAY)


def test_what_chances_rest_on_and_what_came_of_fusion_is_said() -> None:
    own = Calibration("", "", JOB, copies=288, originals=48, nothing_there=0.014, nothing_absent=0.7)
    nothing = "nothing above chance is said of 1 % of copies whose original is there, and of 70 % of others"
    lines = job_view.status_lines(replace(DONE, calibration=own, fusion=FusionTrial(False, 70, reason="too few")))
    assert f"chances     measured on 288 altered copies of 48 images: {nothing}" in lines
    assert "fusion      not measured, too few: not kept" in lines
    published = replace(own, measured=PUBLISHED, reason="The job has 60 images, and 200 are needed.")
    (line,) = [one for one in job_view.status_lines(replace(DONE, calibration=published)) if one[:7] == "chances"]
    assert line.startswith("chances     published ones, as on 48 other photographs nothing above chance is said of 1 %")
    assert line.endswith(": The job has 60 images, and 200 are needed.")
    assert not any(one.startswith(("chances", "fusion")) for one in job_view.status_lines(DONE))


def test_what_is_stored_to_tell_copies_apart_is_said_with_what_lacks_it() -> None:
    progress = replace(DONE, features=FeaturesCount(True, 1, 49_000, 196_000_000, {"vanished": 3, "changed": 1}, (1,)))
    line = (
        "what tells them apart is stored of 49,000 images, 4,000 bytes each; 4 have none (1 changed, 3 vanished); "
        "1 sealed partition lacks it yet"
    )
    assert f"copies      {line}" in job_view.status_lines(progress)
    assert f"copies: {line}" in job_view.finished_lines(progress, "job")
    assert job_view.rate_line(progress) == "storing what tells copies apart: 1 of 2 partitions"
    assert job_view.activity(Look(progress)) == job_view.rate_line(progress)
    assert not any("copies" in line for line in job_view.status_lines(DONE))
