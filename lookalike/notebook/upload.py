"""Ask the person at a notebook for an image of their own: Colab's upload, or a button of ipywidgets."""

from collections.abc import Callable, Iterator, Mapping
from html import escape
from importlib import import_module
from typing import Any

from lookalike.notebook.shown import is_notebook
from shared.errors import LookalikeError, UsageError


def upload(then: Callable[[bytes], object]) -> None:
    """Ask for images, call `then` with the bytes of each, and show what it returns below the image's name.

    In Colab this waits until files are chosen. In Jupyter a button appears, and `then` is called for each choice, also
    a later one, as long as the kernel runs. A LookalikeError of `then`, such as that of a file which is no image, is
    shown as its sentence.

        lookalike.upload(lambda image: job.search(image, k=10, verify="auto"))

    Raises UsageError where no one can be asked: this is no notebook, or ipywidgets is not installed.
    """
    files = _module("google.colab.files")
    if files is not None:
        for name, data in files.upload().items():
            _tell(name, data, then)
        return
    widgets = _module("ipywidgets") if is_notebook() else None
    if widgets is None:
        raise UsageError(
            "No one can be asked for an image here: in Jupyter this takes ipywidgets (pip install ipywidgets), and in "
            "Colab nothing more. Anywhere, search with the path of an image instead."
        )
    button = widgets.FileUpload(accept="image/*", multiple=True, description="An image")
    below = widgets.Output()

    def chosen(change: Mapping[str, Any]) -> None:
        below.clear_output()
        with below:
            for name, data in _files(change["new"]):
                _tell(name, data, then)

    button.observe(chosen, names="value")
    _display(button)
    _display(below)


def _files(value: Any) -> Iterator[tuple[str, bytes]]:
    """The names and bytes of what was chosen, as ipywidgets 8 gives it, or 7."""
    if isinstance(value, Mapping):
        value = [{"name": name, "content": file["content"]} for name, file in value.items()]
    for file in value:
        yield str(file["name"]), bytes(file["content"])


def _tell(name: str, data: bytes, then: Callable[[bytes], object]) -> None:
    _display(_Html(f"<p><b>{escape(name)}</b></p>"))
    try:
        _display(then(data))
    except LookalikeError as error:
        _display(_Html(f"<p>{escape(str(error))}</p>"))


class _Html(str):
    """Text that is HTML."""

    def _repr_html_(self) -> str:
        return str(self)


def _display(what: object) -> None:
    from IPython.display import display

    display(what)  # type: ignore[no-untyped-call]


def _module(name: str) -> Any:
    """A module that may not be installed; None where it is not."""
    try:
        return import_module(name)
    except ImportError:
        return None
