"""Format figures of an index benchmark that several of its tables name."""

from collections.abc import Mapping
from typing import Any

Results = Mapping[str, Any]


def count_of(found: Results) -> str:
    """How many embeddings were measured, and whether they are close together."""
    return f"{found['rows']:,}" + (", crowded" if found["crowded"] else "")


def building_seconds(built: Results) -> float:
    """How long a build trained and added: 0 for what it had no need to do."""
    seconds: float = sum(built["seconds"].get(phase, 0) for phase in ("training", "adding"))
    return seconds
