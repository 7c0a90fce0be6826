"""Define a check: what `doctor` found about one thing, whether it is ok, and in a sentence what to do."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

Found = TypeVar("Found")


class Verdict(StrEnum):
    """Whether a job would run: as it should, but not as it should, or not at all."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """What was found about `subject`, one word; the `sentence` ends with what to do where it is not ok.

    `facts` are the numbers behind it, for programs.
    """

    subject: str
    verdict: Verdict
    sentence: str
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "subject": self.subject,
            "verdict": str(self.verdict),
            "sentence": self.sentence,
            "facts": self.facts,
        }


def ok(subject: str, sentence: str, **facts: Any) -> Check:
    return Check(subject, Verdict.OK, sentence, facts)


def warning(subject: str, sentence: str, **facts: Any) -> Check:
    return Check(subject, Verdict.WARNING, sentence, facts)


def problem(subject: str, sentence: str, **facts: Any) -> Check:
    return Check(subject, Verdict.PROBLEM, sentence, facts)


def within(seconds: float, ask: Callable[[], Found]) -> Found:
    """Call `ask` in a thread of its own; raises what it raises, or TimeoutError after `seconds`.

    A dead mount or a broker that hangs can hold a thread for ever: it is left behind, and ends with the process.
    """
    answers: list[Found] = []
    errors: list[BaseException] = []

    def answer() -> None:
        try:
            answers.append(ask())
        except BaseException as error:
            errors.append(error)

    asking = threading.Thread(target=answer, name="asking for doctor", daemon=True)
    asking.start()
    asking.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return answers[0]
