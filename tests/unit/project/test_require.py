"""A missing service skips a test on a person's machine, and fails it in CI."""

from collections.abc import Callable

import pytest


def test_a_service_that_is_there_lets_the_test_go_on(
    require: Callable[[object, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for ci in ("", "true"):
        monkeypatch.setenv("CI", ci)
        require("/usr/bin/redis-server", "never said")


@pytest.mark.parametrize("ci", [None, "", "0", "false"])
def test_a_missing_service_skips_locally(
    require: Callable[[object, str], None], monkeypatch: pytest.MonkeyPatch, ci: str | None
) -> None:
    monkeypatch.delenv("CI", raising=False)
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    with pytest.raises(pytest.skip.Exception, match="There is no redis-server"):
        require(None, "There is no redis-server.")


def test_a_missing_service_fails_in_ci(require: Callable[[object, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="There is no redis-server"):
        require(None, "There is no redis-server.")
