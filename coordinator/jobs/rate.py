"""How fast a job advances, by what was committed lately, and how busy the stages of its workers were."""

from collections.abc import Collection, Sequence

from shared.job.partition.checkpoint import ChunkSummary
from shared.job.partition.ledger import Seal
from shared.processes.load import StageLoad

# A partition counts as under way while its last commit is younger than this, or than three of its chunks took.
_FRESH_SECONDS = 60.0
_RECENT_CHUNKS = 5


def rate_of(
    seals: Collection[Seal], under_way: Collection[Sequence[ChunkSummary]], now: float
) -> tuple[float | None, StageLoad | None]:
    """Images per second of all partitions on which something was committed lately, each by its last chunks.

    And how busy the stages of their workers were. `under_way` are the chunks of each partition that is not sealed.
    """
    rates: list[float] = []
    loads: list[tuple[StageLoad | None, float]] = []
    for chunks in under_way:
        last = sorted(chunks, key=lambda chunk: chunk.committed_at)[-_RECENT_CHUNKS:]
        age = now - last[-1].committed_at
        seconds = sum(chunk.seconds for chunk in last)
        if age < max(_FRESH_SECONDS, 3 * last[-1].seconds) and seconds > 0:
            rates.append(sum(chunk.stop - chunk.start for chunk in last) / seconds)
            loads += [(StageLoad.from_json(chunk.load), chunk.seconds) for chunk in last]
    if not rates:  # Between two partitions, the one just sealed gives the rate.
        just_sealed = [seal for seal in seals if seal.seconds > 0 and now - seal.sealed_at < _FRESH_SECONDS][-1:]
        rates = [seal.listed / seal.seconds for seal in just_sealed]
        loads = [(StageLoad.from_json(seal.load), seal.seconds) for seal in just_sealed]
    return sum(rates) or None, StageLoad.mean(loads)
