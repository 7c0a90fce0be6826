"""Kills at each step of what writes files, as if Python saw them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class Killed(BaseException):
    """What a kill would be, if Python saw it."""


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Raise Killed at the entry of the step-th rename, link or removal of a file, and at all that come after."""
    count = 0

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            if Path(arguments[0]).name != ".creating.lock":  # A lock ends with its process, also when that is killed.
                count += 1
                if count > step:
                    raise Killed
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for module, name in ((os, "replace"), (os, "link"), (Path, "unlink")):
            patch.setattr(module, name, counting(getattr(module, name)))
        yield
