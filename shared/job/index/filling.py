"""Builds whose shards are being filled: which there is, what it is made of, and which shards lack their file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import StoreError
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.request import IndexRequest
from shared.job.index.shards import TRAINED_FILE, Range, shard_file
from shared.storage import files


@dataclass(frozen=True, slots=True)
class Filling:
    """A build that was trained and is not whole: the rows of each of its shards, and the shards without a file."""

    build: str
    ranges: Sequence[Range]
    missing: Sequence[int]

    @property
    def summary(self) -> dict[str, Any]:
        """How many shards there are, and how many of them are full, for JSON."""
        count = len(self.ranges)
        return {"build": self.build, "shards": count, "full": count - len(self.missing)}


def filling(job: JobDir, digest: str, request: IndexRequest | None) -> Filling | None:
    """The build of these embeddings that was asked for, if its shards are to be filled; None for any other.

    `request` is that of the job, None where nothing was asked for. One merge fills all shards of a job in a store, so
    there is none.
    """
    if job.in_store:
        return None
    for build in reversed(builds.build_names(job)):
        claim = None if builds.is_whole(job, build) else claim_of(job.build_dir(build))
        if claim is not None and claim.get("digest") == digest and "shards" in claim:
            asked = request is None or claim.get("wish") == request.to_json()
            return filling_of(job, build) if asked else None
    return None


def filling_of(job: JobDir, build: str) -> Filling | None:
    """A build of shards that was trained and is not whole; None where it is none, or none any more."""
    directory = job.build_dir(build)
    claim = claim_of(directory)
    if claim is None or "shards" not in claim or not (directory / TRAINED_FILE).is_file():
        return None
    ranges = [Range(*shard) for shard in claim["shards"]]
    missing = [number for number in range(len(ranges)) if not (directory / shard_file(number)).is_file()]
    return Filling(build, ranges, missing)


def claim_of(directory: Path) -> Mapping[str, Any] | None:
    """What the build that is begun in a directory is made of; None if none is begun there."""
    try:
        claim = json.loads(files.read_marker(directory / builds.CLAIM_FILE))
    except StoreError:
        raise
    except (OSError, ValueError):
        return None
    return claim if isinstance(claim, dict) else None
