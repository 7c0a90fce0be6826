"""Tell from an answer whether the picture of its query is in the job, is not there, or can't be known to be."""

from collections.abc import Sequence

from shared.messages.search import Answer, Hit
from shared.messages.verified import PROVEN, SECONDS


def proven(answer: Answer) -> Sequence[Hit]:
    """The hits that are proven to show the query's picture; they are the first."""
    return [hit for hit in answer.hits if hit.verdict in PROVEN]


def is_found(answer: Answer) -> bool | None:
    """Whether the picture of a query is in the job; None where nothing proves it, and not everything was looked at."""
    if answer.error is None and proven(answer):
        return True
    return None if answer.error is not None or why_unknown(answer) else False


def why_unknown(answer: Answer) -> str:
    """Why an answer without a proven hit does not say that the picture is not there; "" where it does."""
    told, searched = answer.verified, answer.searched
    if told is None:
        return "The query worker says nothing of verdicts: run the same version of lookalike everywhere."
    if told.reason is not None:
        return told.reason
    if told.unread:
        which = "" if told.unread == 1 else "; the first"
        return f"{told.unread:,} of the {told.candidates:,} nearest images can't be compared{which}: {told.why_unread}"
    if told.ended == SECONDS:
        return (
            f"{told.compared:,} of the {told.candidates:,} nearest images were compared, and none is the same picture, "
            "when the time was up (the setting verify_seconds)."
        )
    if searched is not None and searched.images < searched.listed:
        return (
            f"None of the {told.compared:,} nearest images is the same picture, but only {searched.images:,} of the "
            f"{searched.listed:,} images of the job were searched."
        )
    return ""


def absent_sentence(answer: Answer) -> str:
    """What an answer says of a picture that is not in the job."""
    told = answer.verified
    if not answer.hits or told is None:
        return "not there: the job has no image to compare it with"
    if not told.candidates:
        return "not there: no image is near enough to be the same picture"
    if told.candidates == 1:
        return "not there: the nearest image does not show the same picture"
    return f"not there: none of the {told.candidates:,} nearest images shows the same picture"
