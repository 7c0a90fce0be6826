"""What a bundle says of itself in its job.json: which job it was made of, when, what it is worth, and its files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from shared.errors import CorruptFile, JobError

BUNDLE_FORMAT: Final = "bundle-1"
"""The format in job.json of a bundle, with a number of its own: versions that know no bundles, or no such ones, must
not take its codes for embeddings."""
CODES_DTYPE: Final = "int8"
EMBEDDINGS_DTYPE: Final = "float16"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle was made of, and what was measured when it was.

    `job` is the place of that job, `job_identity` its identity, `change` the number of its last change then, `removed`
    how many of its images are left out because they were removed. `recall_at_10` is measured against the exact answers
    of the job with `queries` queries, None where no image has a neighbour; among their hits, 99 of 100 similarities
    were off by at most `error_p99`, and all by at most `error_most`. `thumbnails` is the longer side in pixels, 0 where
    there are none; `without_thumbnail` counts images that could not be read for one. `at` is seconds since the epoch.
    `files` gives the size and SHA-256 of each file, as "bytes" and "sha256", by its name inside the bundle.
    """

    job: str
    job_identity: str
    change: int
    removed: int
    recall_at_10: float | None
    queries: int
    error_p99: float
    error_most: float
    thumbnails: int
    without_thumbnail: int
    at: float
    made_by: str
    files: Mapping[str, Mapping[str, Any]] = field(repr=False)

    @property
    def bytes(self) -> int:
        """What all its files take together, but for job.json itself."""
        return sum(int(entry["bytes"]) for entry in self.files.values())

    @property
    def named(self) -> str:
        """The bundle as a sentence names it."""
        return f"a bundle of the job {self.job}, made {datetime.fromtimestamp(self.at, UTC):%Y-%m-%d %H:%M} UTC"

    @property
    def recall_text(self) -> str:
        """Its recall for a table or a sentence, with the number of queries behind it."""
        if self.recall_at_10 is None:
            return "recall@10 not measured: no image has a neighbour"
        return f"recall@10 {self.recall_at_10:.3f} ({self.queries} queries)"

    @property
    def error_text(self) -> str:
        """How far its similarities are off, for a sentence."""
        return f"99 of 100 similarities within {self.error_p99:.4f}, all within {self.error_most:.4f}"

    @property
    def summary(self) -> dict[str, Any]:
        """All of it but the files, and how many `bytes` these are."""
        return {name: value for name, value in self.to_json().items() if name != "files"} | {"bytes": self.bytes}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def bundle_from_json(table: Mapping[str, Any]) -> Bundle | None:
    """What the job.json `table` says of a bundle, None of a job.

    Raises KeyError, TypeError or ValueError where it is not what `Bundle.to_json` gives, or format, bundle and the type
    of the vectors do not belong together.
    """
    is_bundle = table["format"] == BUNDLE_FORMAT
    expected = CODES_DTYPE if is_bundle else EMBEDDINGS_DTYPE
    if table["dtype"] != expected:
        raise ValueError(f"dtype is {table['dtype']!r}, not {expected}")
    if is_bundle != ("bundle" in table):
        raise ValueError(f"format {table['format']} does not go with {'a' if 'bundle' in table else 'no'} bundle")
    if not is_bundle:
        return None
    bundle = Bundle(**table["bundle"])
    kinds: dict[str, type | tuple[type, ...]] = {"job": str, "job_identity": str, "made_by": str, "at": (int, float)}
    kinds |= dict.fromkeys(("change", "removed", "queries", "thumbnails", "without_thumbnail"), int)
    kinds |= dict.fromkeys(("error_p99", "error_most"), (int, float))
    for name, kind in kinds.items():
        if not isinstance(getattr(bundle, name), kind):
            raise ValueError(f"{name} is {getattr(bundle, name)!r:.80}")
    for name, entry in bundle.files.items():
        if type(entry["bytes"]) is not int or type(entry["sha256"]) is not str:
            raise ValueError(f"the entry of {name} is {entry!r:.80}")
    return bundle


def damaged(error: CorruptFile, bundle: Bundle | None) -> CorruptFile:
    """The error about a file of a job; about one of a bundle, which nothing makes anew, with what to do there."""
    if bundle is None:
        return error
    return CorruptFile(f"{error.found.rstrip('.')}. This is {bundle.named}: copy it anew, or export the job again.")


def refuse_bundle(path: Path, bundle: Bundle | None, done: str) -> None:
    """Raise JobError where a job is a bundle: what is to be `done`, such as "changed", is done with the job itself."""
    if bundle is not None:
        raise JobError(
            f"{path} is {bundle.named}: it is for searching, and can't be {done}. Do that with the job itself, and "
            "export it again."
        )
