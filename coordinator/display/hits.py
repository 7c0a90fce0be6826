"""Show the hits of queries as a table, as lines and as JSON."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from coordinator.client.matches import absent_sentence, is_found, proven
from shared.errors import ImageError, LookalikeError
from shared.images.paths import shown_path
from shared.job.index.calibration import PUBLISHED
from shared.messages.search import Answer, Hit
from shared.messages.shards import as_ranges
from shared.messages.verdicts import verdict_text
from shared.messages.verified import FAR, SECONDS


def hits_table(query: str, answer: Answer) -> RenderableType:
    """The hits of one query, best first."""
    if answer.error is not None:
        return Text(f"{query}: {answer.error}", style="red")
    return hits_text(answer.hits, f"{query}  ·  {answer.milliseconds:.1f} ms in the worker")


def hits_text(hits: Sequence[Hit], title: str) -> Text:
    """The hits below a title, a line each, which a narrow window does not cut."""
    # This is no Table of Rich: in a narrow window, or without a terminal, it would cut a path in two, which can't be
    # copied. It is all Text: in a plain string, Rich would take a path like `[old]/:dog:.jpg` for its own markup.
    width = len(str(len(hits)))
    verdicts = [shown_verdict(hit) for hit in hits]
    column = max((len(verdict) for verdict, _ in verdicts), default=0)
    heading = f"{'verdict':<{column}}  " if column else ""
    by_finer = "   finer  " if any(hit.finer is not None for hit in hits) else "  "
    lines = [Text(title, style="bold"), Text(f"{'#':>{width}}  {heading}similarity{by_finer}image", style="bold")]
    for hit, (verdict, evidence) in zip(hits, verdicts, strict=True):
        judged = f"{verdict:<{column}}  " if column else ""
        lines.append(Text(f"{hit.rank:>{width}}", style="dim"))
        finer = "  " if hit.finer is None else f"  {hit.finer:.4f}  "
        place = f"{finer:<{len(by_finer)}}{shown_path(hit.image_path)}"
        lines[-1].append(f"  {judged}{hit.similarity:>10.4f}{place}", style="not dim")
        lines[-1].append(f"  {evidence}" if evidence else "", style="dim")
    return Text("\n").join(lines)


def shown_verdict(hit: Hit) -> tuple[str, str]:
    """The verdict of a hit, with what was cropped of it, and what else its evidence says; "" for what there is not."""
    if hit.evidence is None:
        return "" if hit.verdict is None else verdict_text(hit.verdict, hit.chance), ""
    first, _, others = hit.evidence.description.partition(", ")
    if first.startswith("cropped"):
        return f"{hit.verdict}, {first}", others
    return str(hit.verdict), hit.evidence.description


def verdict_lines(answers: Sequence[Answer]) -> list[str]:
    """Lines that say what kept hits from having verdicts, each once; none where candidates were compared, and all."""
    lines: list[str] = []
    for told in (answer.verified for answer in answers):
        if told is None:
            continue
        is_far = told.ended == FAR and not told.candidates
        if told.nothing:
            anyway = "; --verify always compares anyway" if is_far else ""
            lines.append(f"nothing above chance: no image stands out as the original of a copy does{anyway}")
        elif is_far:
            lines.append("no verdicts: no image is near enough to be the same picture; --verify always compares anyway")
        if told.chances == PUBLISHED and (told.nothing or told.compared):
            lines.append("chances were measured on other photographs: the job has too few images to measure its own")
        if told.no_chances is not None:
            lines.append(f"similar images have no chance: {told.no_chances}")
        if told.is_whole:
            continue
        if told.reason is not None:
            lines.append(f"no verdicts: {told.reason}")
            continue
        if told.unread:
            has = "has no verdict" if told.unread == 1 else "have no verdict; the first"
            lines.append(f"{told.unread:,} of the {told.candidates:,} nearest images {has}: {told.why_unread}")
        if told.ended == SECONDS:
            lines.append(
                f"{told.compared:,} of the {told.candidates:,} nearest images were compared when the time was up (the "
                "setting verify_seconds); the others have no verdict"
            )
    return list(dict.fromkeys(lines))


def finer_lines(answers: Sequence[Answer]) -> list[str]:
    """Lines that say what the finer model did not compare, each once; none where it compared all candidates."""
    lines: list[str] = []
    for told in (answer.refined for answer in answers):
        if told is None:
            continue
        if told.reason is not None:
            lines.append(f"no finer order: {told.reason}")
            continue
        if told.unread:
            which = "is placed" if told.unread == 1 else "are placed"
            first = "" if told.unread == 1 else "; the first"
            lines.append(
                f"{told.unread:,} of the {told.candidates:,} nearest images {which} by similarity alone, without the "
                f"finer model{first}: {told.why_unread}"
            )
        if told.is_late:
            lines.append(
                f"the finer model compared {told.compared:,} of the {told.candidates:,} nearest images when the time "
                "was up (the setting finer_seconds); what it computed is cached: the same search again goes further"
            )
    return list(dict.fromkeys(lines))


def matches_table(query: str, answer: Answer, k: int) -> Text:
    """The hits of one query that are the same picture, or that it is not there; for an answer that says which."""
    hits = proven(answer)
    if not hits:
        return Text(f"{query}  ·  {absent_sentence(answer)}")
    text = hits_text(hits, f"{query}  ·  {answer.milliseconds:.1f} ms in the worker")
    if len(hits) == k:
        asked = "1 hit was" if k == 1 else f"{k:,} hits were"
        text.append(f"\nNo more than {asked} asked for: there may be more of the same picture.", style="dim")
    return text


def fewer_line(answers: Sequence[Answer], k: int, filtered: bool) -> str:
    """A line that says that there are fewer hits than the `k` asked for, and why; "" if every query has `k` hits."""
    fewer = [len(answer.hits) for answer in answers if answer.error is None and len(answer.hits) < k]
    if not fewer:
        return ""
    hits = "hit" if max(fewer) == 1 else "hits"
    why = "the filter leaves" if filtered else "the job has"
    if any(_missing(answer) for answer in answers):
        why = "the shards that were searched have"
    return f"{max(fewer):,} {hits} instead of {k:,}: {why} no more embedded images."


def search_json(
    queries: Sequence[str], answers: Sequence[Answer], *, matching: bool = False
) -> list[dict[str, object]]:
    """The `--json` of search: one object a query, in order; `matching` leaves only the hits that are the same picture,
    and says whether there are any.
    """
    return [_search_object(query, answer, matching) for query, answer in zip(queries, answers, strict=True)]


def _search_object(query: str, answer: Answer, matching: bool) -> dict[str, object]:
    found: dict[str, object] = {
        "query": query,
        "hits": [_hit_object(hit) for hit in (proven(answer) if matching else answer.hits)],
        "milliseconds": round(answer.milliseconds, 3),
    }
    if matching:
        found["found"] = is_found(answer)
    if answer.verified is not None:
        found["verified"] = answer.verified.to_json()
    if answer.refined is not None:
        found["finer"] = answer.refined.to_json()
    if answer.answered_by is not None:
        found["answered_by"] = answer.answered_by.to_json()
    if answer.searched is not None:
        found["searched"] = answer.searched.to_json() | {"share": round(answer.searched.share, 4)}
    if isinstance(answer.error, LookalikeError):
        found["error"] = str(answer.error)
        if answer.error.remedy is not None:
            found["remedy"] = answer.error.remedy.to_json()
    if isinstance(answer.error, ImageError):
        found["status"] = answer.error.status
    return found


def _hit_object(hit: Hit) -> dict[str, object]:
    if hit.evidence is None:
        return hit.to_json()
    return hit.to_json() | {"description": hit.evidence.description}


def searched_line(answers: Sequence[Answer]) -> str:
    """A line that says how much of the job was searched, and which shards were not; "" where it was all of it, or no
    answer says it."""
    for answer in answers:
        if (missing := _missing(answer)) and (searched := answer.searched) and (shards := searched.shards):
            which = f"the shards {as_ranges(shards.numbers)}" if shards.numbers else "none"
            return (
                f"Searched {which} of {len(shards.sizes)}, {searched.share:.0%} of the "
                f"images of {shards.build or 'the job'}: no query worker holds {as_ranges(missing)}."
            )
    found = [answer.searched for answer in answers if answer.searched is not None]
    least = min(found, key=lambda one: one.share, default=None)
    if least is None or least.images == least.listed:
        return ""
    # Rounded down: 100 % is said of nothing less.
    share = f"{100 * least.images // least.listed} %" if 100 * least.images >= least.listed else "less than 1 %"
    return f"searched {share} of the images: {least.images:,} of {least.listed:,}; the others are not embedded yet"


def _missing(answer: Answer) -> Sequence[int]:
    """The shards of the index that nobody searched for an answer."""
    shards = None if answer.searched is None else answer.searched.shards
    return () if shards is None else shards.missing


def by_name_line(answers: Sequence[Answer]) -> str:
    """A line that says which job answered a search that knew only the job's name; "" when no answer says it."""
    found = sorted({f"{one.job} (by {one.worker})" for answer in answers if (one := answer.answered_by) is not None})
    if not found:
        return ""
    return f"The job is not on this machine, so any of its name could answer: {', '.join(found)} did."
