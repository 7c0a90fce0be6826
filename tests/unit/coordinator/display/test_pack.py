"""How far a pack is, in one line: its rate is that of the last minute."""

from coordinator.display.pack import PackPace, PackProgress


def test_the_rate_is_that_of_the_last_minute_and_not_of_what_was_there_before() -> None:
    times = iter([0.0, 10.0, 100.0, 130.0])
    pace = PackPace(2_000_000, now=lambda: next(times))
    first = pace.told(packed=40_000, failed=2, bytes=10**9, tars=4)
    assert (first.done, first.images_per_second, first.eta_seconds) == (40_002, None, None)
    assert pace.told(packed=40_100, failed=2, bytes=10**9, tars=4).images_per_second == 10
    pace.told(packed=49_100, failed=2, bytes=2 * 10**9, tars=4)
    last = pace.told(packed=49_998, failed=2, bytes=3 * 10**9, tars=5)
    assert last.images_per_second == 898 / 30
    assert last.bytes_per_second == 10**9 / 30
    assert last.eta_seconds == 1_950_000 / (898 / 30)


def test_it_is_one_line() -> None:
    quick = PackProgress(2_000_000, 49_998, 2, 3_200_000_000, 1, 85.0, 12_300_000.0)
    assert quick.line == (
        "50,000/2,000,000 images · 2 failed · 3.2 GB, 1 tar whole · 85 img/s, 12.3 MB/s · 6 h 22 min left"
    )
    assert PackProgress(10, 0, 0, 0, 0).line == "0/10 images · 0 failed · 0 B, 0 tars whole"


def test_a_mount_that_gives_nothing_has_no_rate() -> None:
    times = iter([0.0, 30.0])
    pace = PackPace(100, now=lambda: next(times))
    pace.told(5, 0, 50, 0)
    assert pace.told(5, 0, 50, 0).images_per_second is None
