"""The product as a program uses it: a job of the photographs, searched by `lookalike.open`, with verdicts."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lookalike
from benchmarks.support.processes import LOOKALIKE, measured
from benchmarks.truth.judge import Outcome
from benchmarks.truth.methods.method import Rule, Stored
from benchmarks.truth.progress import shown
from benchmarks.truth.queries.collection import Photo, Query
from shared.messages.verified import PROVEN

_K = 10
_SECONDS = 120.0


class Jobs:
    """A job of all photographs, and one in which the originals are deleted, for a `with` block.

    `model` is the options of `lookalike index` that name one. With `stores`, the jobs store features of their images;
    without, those of candidates are decoded.
    """

    def __init__(self, folder: Path, originals: Sequence[int], model: Sequence[str], *, stores: bool = False) -> None:
        self._folder, self._originals, self._model, self.stores = folder, originals, model, stores
        self._stack = ExitStack()
        self._stored: Stored | None = None
        self.whole: lookalike.Job
        self.without: lookalike.Job

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def of(self, photos: Sequence[Photo]) -> Stored:
        """Index the photographs by the command, once; bytes are those of the whole job, CPU is the embed worker's."""
        if self._stored is None:
            listing, whole, without = (self._folder / name for name in ("list.txt", "whole/job", "without/job"))
            listing.write_text("".join(f"{photo.path}\n" for photo in photos))
            whole.parent.mkdir()
            without.parent.mkdir()
            copies = "on" if self.stores else "off"
            command = [LOOKALIKE, "index", str(listing), str(whole), *self._model, "--copies", copies]
            run = measured(command, self._folder / "index.log")
            cpu = sum(usage.cpu_seconds for usage in run.children if usage.role == "embed")
            size = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
            shutil.copytree(whole, without)
            self.whole = self._stack.enter_context(lookalike.open(whole))
            self.without = self._stack.enter_context(lookalike.open(without))
            self.without.delete(list(self._originals))
            self._stored = Stored(size / len(photos), 1000 * cpu / len(photos))
        return self._stored


class Product:
    """Searches with verdicts as they are asked for: `verify` is auto or always, `views` how many of a query."""

    asks_absent = True

    def __init__(self, jobs: Jobs, verify: str, views: int) -> None:
        self.name = f"lookalike, {verify}" + ("" if views == 1 else f", {views} views")
        self.name += ", stored" if jobs.stores else ""
        self.about = f"a job of the photographs, searched by a program with verify={verify!r} and views={views}, " + (
            "which stores features" if jobs.stores else "whose candidates are decoded"
        )
        self._jobs = jobs
        self._how: dict[str, Any] = {"verify": verify, "views": views, "timeout": _SECONDS}

    def store(self, photos: Sequence[Photo]) -> Stored:
        return self._jobs.of(photos)

    def judge(self, queries: Sequence[Query]) -> list[Rule]:
        outcomes = [self._outcome(query) for query in shown(queries, self.name, lambda query: query.kind)]
        return [Rule("its own verdict", outcomes)]

    def ask(self, data: bytes, without: int | None) -> Any:
        """The hits of a search: where an original is to be absent, in the job without any of them."""
        job = self._jobs.whole if without is None else self._jobs.without
        return job.search(data, _K, **self._how)

    def _outcome(self, query: Query) -> Outcome:
        hits = self.ask(query.data, None)
        found = next((hit for hit in hits if hit.id == query.original), None)
        wrong = next((hit for hit in self.ask(query.data, query.original) if hit.verdict in PROVEN), None)
        return Outcome(
            0 if found is None else found.rank,
            found.verdict if found is not None and found.verdict in PROVEN else None,
            None if wrong is None else wrong.id,
            "" if wrong is None else f"{wrong.verdict}: {wrong.evidence.description if wrong.evidence else ''}",
        )
