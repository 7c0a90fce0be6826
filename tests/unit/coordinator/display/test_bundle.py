"""What `export`, `status` and `search` say of a bundle."""

from dataclasses import replace
from pathlib import Path

from coordinator.display.bundle import approximate_line, exported_lines, status_line
from coordinator.export.export import Exported
from shared.job.bundle.facts import Bundle
from shared.job.directory import JobDir

BUNDLE = Bundle(
    job="/jobs/photos",
    job_identity="0" * 16,
    change=2,
    removed=3,
    recall_at_10=0.9876,
    queries=100,
    error_p99=0.0009,
    error_most=0.00131,
    thumbnails=128,
    without_thumbnail=7,
    at=1_800_000_000,
    made_by="lookalike 0.1.0",
    files={"a": {"bytes": 2_000, "sha256": ""}, "b": {"bytes": 3_000, "sha256": ""}},
)
EXPORTED = Exported(BUNDLE, 10, 0, {"codes": 3_000, "index": 2_000, "thumbnails": 0, "other": 0}, 0.5, None)


def test_an_export_says_its_size_and_worth_and_how_to_search() -> None:
    size, worth, search = exported_lines(EXPORTED, JobDir(Path("/mnt/a bundle")))
    assert size == "10 images in /mnt/a bundle: 5.0 kB (codes 3.0 kB, index 2.0 kB), 500 bytes an image"
    assert worth == (
        "recall@10 0.988 (100 queries) against the exact answers of the job, 99 of 100 similarities within 0.0009, "
        "all within 0.0013, 0.50 ms a query (p50)"
    )
    assert search == "Search it:  lookalike search '/mnt/a bundle' IMAGE"
    *_, search = exported_lines(replace(EXPORTED, dim=512), JobDir(Path("/mnt/bundle")))
    assert search == "Search it:  lookalike search /mnt/bundle --vector FILE.npy   (floats [512])"


def test_status_says_what_it_is_of_and_what_it_lacks() -> None:
    assert status_line(BUNDLE) == (
        "bundle      a bundle of the job /jobs/photos, made 2027-01-15 08:00 UTC by lookalike 0.1.0, without the 3 "
        "that were removed; thumbnails of 128 pixels (7 images have none), 5.0 kB"
    )
    assert status_line(replace(BUNDLE, removed=0, thumbnails=0)).endswith("lookalike 0.1.0; no thumbnails, 5.0 kB")


def test_a_search_says_that_it_is_approximate() -> None:
    assert approximate_line(BUNDLE, exact=False) == (
        "The answers are those of a bundle, and similarities approximate: recall@10 0.988 (100 queries), 99 of 100 "
        "similarities within 0.0009, all within 0.0013."
    )
    assert "compared with the codes of all images" in approximate_line(BUNDLE, exact=True)
    assert "no image has a neighbour" in approximate_line(replace(BUNDLE, recall_at_10=None), exact=False)
