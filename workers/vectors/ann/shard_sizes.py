"""How many shards an index has, and how many embeddings one of them holds (pure)."""

import math

from shared.errors import SettingsError
from shared.errors.remedy import Remedy
from shared.job.index.request import MOST_SHARDS, IndexRequest


def shards_of(n: int, request: IndexRequest, factory: str, row_bytes: float, shared_bytes: int) -> tuple[int, int]:
    """How many shards `n` embeddings are in, and the most that one of them holds.

    The index `factory` takes at most `row_bytes` for each embedding and `shared_bytes` besides, 0 if that is not known.
    There are as many shards as were asked for, of equal size, or as few as keep each below the size asked for.

    Raises SettingsError when there are more shards than embeddings, no shard is as small as was asked for, or nobody
    knows how large one will be.
    """
    if request.shard_bytes:
        rows = _rows_within(n, request.shard_bytes, factory, row_bytes, shared_bytes)
        return -(-n // rows), rows
    if request.shards > n:
        raise SettingsError(
            f"An index of {request.shards:,} shards was asked for, and there are only {n:,} embeddings to be in them",
            remedy=Remedy("option", does="{} asks for fewer", given={"shards": ""}),
        )
    return request.shards, -(-n // request.shards)


def _rows_within(n: int, most: int, factory: str, row_bytes: float, shared_bytes: int) -> int:
    """How many embeddings a shard below `most` bytes holds; `n` are to be in them."""
    if not row_bytes:
        raise SettingsError(
            f"How large a shard of the index {factory!r} will be is not known before it is built, so there is "
            "nothing to choose their number by",
            remedy=Remedy("option", does="{} says how many", given={"shards": "N"}),
        )
    within = int((most - shared_bytes) // row_bytes)
    if within < 1 or -(-n // within) > MOST_SHARDS:
        least = shared_bytes + math.ceil(-(-n // MOST_SHARDS) * row_bytes)
        raise SettingsError(
            f"No shard of an index {factory} of {n:,} embeddings fits into {most:,} bytes: in {MOST_SHARDS:,} shards, "
            f"which are the most, each takes about {least:,}",
            remedy=Remedy("option", does="{} allows more", given={"shard_memory": "SIZE"}),
        )
    return within
