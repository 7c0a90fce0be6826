"""A person is asked for an image by what the notebook has: Colab's upload, a button, or neither."""

import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import IPython
import IPython.display
import pytest

import lookalike
from lookalike import ImageError, UsageError, upload


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is shown, in a notebook without Colab and ipywidgets."""
    shown: list[Any] = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: type("Shell", (), {"kernel": object()})())
    monkeypatch.setattr(IPython.display, "display", shown.append)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setitem(sys.modules, "google.colab.files", None)
    return shown


def found(image: bytes) -> str:
    if image == b"no image":
        raise ImageError("The query holds <no> image.", "undecodable")
    return f"hits of {image!r}"


def test_colab_is_asked_and_each_file_searched(displayed: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    files: Any = ModuleType("google.colab.files")
    files.upload = lambda: {"<a>.jpg": b"a", "b.txt": b"no image"}
    for name in ("google", "google.colab"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "google.colab.files", files)
    upload(found)
    assert displayed == [
        "<p><b>&lt;a&gt;.jpg</b></p>",
        "hits of b'a'",
        "<p><b>b.txt</b></p>",
        "<p>The query holds &lt;no&gt; image.</p>",
    ]


@pytest.mark.parametrize(
    "value",
    [({"name": "a.jpg", "content": memoryview(b"a")},), {"a.jpg": {"content": b"a", "metadata": {}}}],
    ids=["ipywidgets 8", "ipywidgets 7"],
)
def test_jupyter_shows_a_button_and_searches_at_each_choice(
    displayed: list[Any], monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    observers: list[Callable[[Mapping[str, Any]], None]] = []
    cleared: list[str] = []

    class FileUpload:
        def __init__(self, **options: Any) -> None:
            assert options["accept"] == "image/*"

        def observe(self, then: Callable[[Mapping[str, Any]], None], names: str) -> None:
            assert names == "value"
            observers.append(then)

    class Output(nullcontext[None]):
        def clear_output(self) -> None:
            cleared.append("once")

    widgets: Any = ModuleType("ipywidgets")
    widgets.FileUpload, widgets.Output = FileUpload, Output
    monkeypatch.setitem(sys.modules, "ipywidgets", widgets)
    upload(found)
    assert [type(one) for one in displayed] == [FileUpload, Output]
    displayed.clear()
    for times in (1, 2):
        observers[0]({"new": value})
        assert displayed == ["<p><b>a.jpg</b></p>", "hits of b'a'"] * times
        assert len(cleared) == times


def test_where_no_one_can_be_asked_a_sentence_says_what_to_do(displayed: list[Any]) -> None:
    with pytest.raises(UsageError, match=r"takes ipywidgets \(pip install ipywidgets\).* search with the path"):
        lookalike.upload(found)
    assert displayed == []
