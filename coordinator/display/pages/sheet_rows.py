"""Make the rows of a contact sheet of queries whose answers have verdicts."""

from collections.abc import Callable, Mapping
from pathlib import Path

from coordinator.client.matches import absent_sentence, proven, why_unknown
from coordinator.display.hits import shown_verdict
from coordinator.display.pages.contact_sheet import Part, SheetHit, SheetRow
from shared.images.paths import to_os_path
from shared.job.opened import OpenJob
from shared.messages.search import Answer, Hit
from shared.messages.verified import PROVEN
from shared.storage.parquet import read_table

Sizes = Mapping[int, tuple[int, int]]
"""Width and height of images in pixels, by their ids."""

_WHOLE = 0.975  # As where it is said what was cropped.


def sizes_of(job: OpenJob, answers: list[Answer]) -> Sizes:
    """The sizes of the proven hits of some answers, as their job has them, before any orientation."""
    found: dict[int, tuple[int, int]] = {}
    wanted = {hit.id for answer in answers for hit in answer.hits if hit.evidence is not None}
    for partition in {job.partition_of(image) for image in wanted}:
        table = read_table(job.metadata(partition.number), ["id", "width", "height"])
        for row in table.to_pylist():
            if row["id"] in wanted:
                found[row["id"]] = row["width"], row["height"]
    return found


def sheet_row(
    query: Path, label: str, answer: Answer, sizes: Sizes, is_original: Callable[[Hit], bool] | None
) -> SheetRow:
    """The row of a query, whose original `is_original` tells among the hits; None for one that has none."""
    hits = tuple(_hit(hit, sizes, is_original is not None and is_original(hit)) for hit in answer.hits)
    if is_original is not None:
        first = next((hit for hit in answer.hits if is_original(hit)), None)
        if first is not None and first in proven(answer):
            return SheetRow(query, label, hits, shown_verdict(first)[0])
        found = "" if first is None else f"original found {'first' if first.rank == 1 else f'at rank {first.rank}'}"
        return SheetRow(query, label, hits, found and f"{found}, not proven", "found")
    if wrong := proven(answer):
        return SheetRow(query, label, hits, f"{shown_verdict(wrong[0])[0]}, which is wrong", "missed")
    if unknown := why_unknown(answer):
        return SheetRow(query, label, hits, f"not known: {unknown}", "found")
    return SheetRow(query, label, hits, absent_sentence(answer))


def _hit(hit: Hit, sizes: Sizes, is_original: bool) -> SheetHit:
    verdict, why = shown_verdict(hit)
    is_proven = hit.verdict in PROVEN
    part = None
    if hit.evidence is not None and hit.evidence.hit_overlap < _WHOLE and hit.id in sizes:
        part = Part(hit.evidence.hit_quad, *sizes[hit.id])
    return SheetHit(
        Path(to_os_path(hit.image_path)), hit.similarity, hit.rank, is_original, verdict, why, part, is_proven
    )
