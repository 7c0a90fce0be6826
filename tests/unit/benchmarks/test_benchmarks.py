"""What the benchmarks count and print, and that docs/benchmarks.md has no figure but those of its tables."""

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import altered, machine, processes, tables
from benchmarks.resume import Chunks
from coordinator.local.workers import worker_command
from shared.errors import UsageError
from shared.job.directory import JobDir
from shared.messages.search import Answer, Hit
from tests.support.make_job import image_path, make_job
from workers.images.alterations import ALTERATIONS

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results" / "end_to_end.json"


@pytest.fixture
def results() -> Any:
    return json.loads(RESULTS.read_text())


def answer(*hits: tuple[int, float]) -> Answer:
    """An answer whose hits are these image ids and similarities, in order."""
    return Answer(tuple(Hit(rank, number, image_path(number), alike) for rank, (number, alike) in enumerate(hits, 1)))


def test_the_page_quotes_no_measured_figure_outside_its_tables() -> None:
    prose = tables._BLOCK.sub("", PAGE.read_text())
    assert "<!--" not in prose
    words = prose.replace("(", " ").split()
    assert not [word for word in words if word[0].isdigit() and "." in word.rstrip(".")]


@pytest.mark.parametrize(
    "figure",
    [
        ("search", "found", 0, "in_10"),
        ("search", "required", "rank_1"),
        ("search", "by_image", "round_trip_ms", "p50"),
        ("index", "images_per_second"),
        ("index", "job_bytes", "img_emb"),
        ("resume", "kills", 1, "chunks_committed"),
        ("resume", "embeddings_equal_byte_for_byte"),
        ("machine", "cores"),
    ],
)
def test_another_figure_makes_another_page(results: Any, figure: tuple[str | int, ...]) -> None:
    page = PAGE.read_text()
    *above, last = figure
    holder = results
    for key in above:
        holder = holder[key]
    holder[last] = not holder[last] if isinstance(holder[last], bool) else holder[last] + 7_000_000
    assert tables.fill_in(page, tables.all_tables(results)) != page


def test_a_page_without_a_block_or_with_one_twice_is_refused(results: Any) -> None:
    page, made = PAGE.read_text(), tables.all_tables(results)
    block = "<!-- figures: found -->\n<!-- end of figures -->\n"
    with pytest.raises(UsageError, match="found"):
        tables.fill_in(page.replace("<!-- figures: found -->", ""), made)
    with pytest.raises(UsageError, match="found"):
        tables.fill_in(page + block, made)


def test_blocks_of_other_benchmarks_stay_as_they_are(results: Any) -> None:
    strange = "<!-- figures: strange -->\nkept\n<!-- end of figures -->\n"
    page = PAGE.read_text() + strange
    assert tables.block_names(page)[-1] == "strange"
    assert tables.fill_in(page, tables.all_tables(results)).endswith(strange)


def test_the_results_count_every_alteration_and_the_six_together(results: Any) -> None:
    found = {row["alteration"]: row for row in results["search"]["found"]}
    assert list(found) == list(ALTERATIONS)
    six = [row for row in found.values() if row["required"]]
    assert [row["alteration"] for row in six] == list(altered.REQUIRED)
    assert results["search"]["required"]["rank_1"] == sum(row["rank_1"] for row in six)
    assert results["search"]["required"]["queries"] == sum(row["queries"] for row in six)
    for row in found.values():
        assert row["rank_1"] + len(row["missed"]) == row["queries"]
        assert row["in_10"] + sum(miss["rank"] == "beyond 10" for miss in row["missed"]) == row["queries"]


@pytest.mark.parametrize(("rank_1", "says"), [(97, "met"), (96, "missed")])
def test_the_target_is_met_from_its_share_on(results: Any, rank_1: int, says: str) -> None:
    results["search"]["required"] = {"queries": 100, "rank_1": rank_1, "in_10": 99, "target": 0.97}
    last = tables.found_table(results).splitlines()[-1]
    assert f"at least 97% at rank 1, {says} " in last
    assert f"**{rank_1}.0 %**" in last


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(1, 1, "100.0 %"), (1163, 1200, "96.9 %"), (0, 7, "0.0 %"), (1999, 2000, "99.9 %")]
)
def test_a_share_is_rounded_down(part: int, whole: int, text: str) -> None:
    assert tables.percent(part, whole) == text


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 B"), (1_000, "1.0 kB"), (2_500_000, "2.5 MB"), (25_280_000_000, "25.28 GB")]
)
def test_sizes_are_said_in_the_unit_that_fits(count: int, text: str) -> None:
    assert tables.size(count) == text


def test_a_table_is_markdown_with_its_columns_aligned() -> None:
    made = tables.table(["what", "n"], [["a longer name", "7"], ["b", "12,345"]], right=1)
    assert made.splitlines() == [
        "| what          |      n |",
        "|---------------|-------:|",
        "| a longer name |      7 |",
        "| b             | 12,345 |",
    ]


def test_the_rank_is_that_of_the_original_and_0_beyond_the_hits() -> None:
    found = answer((7, 0.9), (3, 0.8))
    assert [altered.rank_of(number, found) for number in (7, 3, 5)] == [1, 2, 0]


def test_agreement_counts_the_true_hits_that_were_found() -> None:
    truth = answer((1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6))
    assert altered.agreement(truth, truth) == (4, 4)
    assert altered.agreement(answer((1, 0.9), (3, 0.7), (8, 0.5), (9, 0.4)), truth) == (2, 4)
    assert altered.agreement(answer((1, 0.9)), truth) == (1, 4)


def test_a_hit_as_similar_as_the_last_true_one_counts_too() -> None:
    truth = answer((1, 0.9), (2, 0.6))
    assert altered.agreement(answer((1, 0.9), (5, 0.6)), truth) == (2, 2)
    assert altered.agreement(answer((1, 0.9), (5, 0.59)), truth) == (1, 2)


def test_a_miss_says_what_was_found_instead_below_the_folder(tmp_path: Path) -> None:
    original = altered.Original(3, tmp_path / "photos" / "é 0000003.jpg", np.zeros(2, np.float32))
    hits = tuple(
        Hit(rank, number, str(tmp_path / image_path(number)), 1 - rank / 10) for rank, number in ((1, 7), (2, 3))
    )
    told = altered.miss(original, Answer(hits), tmp_path)
    assert (told["original"], told["first"]) == ("photos/é 0000003.jpg", "photos/é 0000007.jpg")
    assert (told["rank"], told["similarity"], told["first_similarity"]) == (2, 0.8, 0.9)
    nowhere = altered.miss(altered.Original(5, original.path, original.vector), Answer(hits), tmp_path)
    assert (nowhere["rank"], nowhere["similarity"]) == ("beyond 10", None)


def test_the_drawn_photographs_are_embedded_ones_with_their_own_path_and_vector(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", failed=(0, 30, 59))
    drawn = altered.draw(made.job, 40)
    assert len({original.id for original in drawn}) == 40
    rows = {image: row for row, image in enumerate(made.ids.tolist())}
    for original in drawn:
        assert original.path == Path(image_path(original.id))
        assert np.array_equal(original.vector, made.embeddings[rows[original.id]].astype(np.float32))
    ids = [[original.id for original in altered.draw(made.job, 40, seed)] for seed in (0, 1)]
    assert ids[0] == [original.id for original in drawn]
    assert ids[1] != ids[0]
    with pytest.raises(UsageError, match="57"):
        altered.draw(made.job, 58)


def test_percentiles_are_the_middle_and_the_far_end() -> None:
    assert altered.percentiles([float(value) for value in range(101)]) == {"p50": 50.0, "p99": 99.0}


def test_a_chunk_that_is_written_again_is_noticed(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", sealed=())
    job: JobDir = made.job
    chunks = Chunks(job)
    assert chunks.look() == 0
    job.chunk_dir(0).mkdir(parents=True)
    job.chunk(0, 0).write_bytes(b"first")
    job.chunk(0, 1).write_bytes(b"second")
    assert (chunks.look(), chunks.rewritten) == (2, 0)
    job.chunk(0, 1).rename(tmp_path / "kept")
    assert (chunks.look(), chunks.rewritten) == (2, 0)
    job.chunk(0, 1).write_bytes(b"second")
    assert (chunks.look(), chunks.rewritten) == (2, 1)


def test_the_stat_of_a_process_with_a_strange_name_is_read() -> None:
    numbers = " ".join(str(number) for number in range(100, 140))
    assert processes.fields_of(f"42 (a) S 9 (b)) R 7 {numbers}\n") == ("R", 7, 109 + 110)


def test_the_role_of_a_worker_is_the_queue_it_consumes() -> None:
    assert processes.role_of(worker_command(["embed"], "x")) == "embed"
    assert processes.role_of(["valkey-server", "broker.conf", "--queues"]) == "other"


def test_the_cpu_is_called_as_linux_calls_it() -> None:
    assert machine.cpu_model("processor\t: 0\nmodel name\t: A  CPU @ 3\nmodel name\t: A  CPU @ 3\n") == "A CPU @ 3"
    assert machine.cpu_model("processor\t: 0\nmodel name\t:\n") == "unknown"


def test_versions_are_those_installed_and_no_others() -> None:
    found = machine.versions(("numpy", "no-such-distribution"))
    assert found == {"python": platform.python_version(), "numpy": np.__version__}
