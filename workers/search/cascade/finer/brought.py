"""Find the hits that a finer model brought forward, and that may not be shown without a verdict (pure)."""

from collections.abc import Collection, Sequence

from shared.messages.search import Hit
from shared.messages.verified import best_first


def brought_forward(hits: Sequence[Hit], before: Collection[int], k: int) -> list[Hit]:
    """Those of the first `k` hits by both models that are to be compared with the query's picture too, in their order.

    `before` are the ids of the first `k` by the model of the job. The last hit that came to them, or that has a
    verdict, is looked for: it and those in front of it are to have one, so that none is shown in front of it without.
    """
    first = best_first(hits)[:k]
    last = max((at for at, hit in enumerate(first) if hit.verdict is not None or hit.id not in before), default=-1)
    return [hit for hit in first[: last + 1] if hit.verdict is None]
