"""Describe what mends an error: an action of lookalike, its job and its options, and no command of a shell."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

Action = Literal[
    "compact",
    "import",
    "index",
    "make",
    "option",
    "pack",
    "repair",
    "retry",
    "rollback",
    "search",
    "status",
    "verify",
    "worker",
]
"""What can be done: most are a command and, in programs, a function of that name.

`make` is the action that made the job, index or import. `option` is to repeat the call with the option `given`.
"""

ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
_WORDS: Final[Mapping[Action, str]] = {
    "compact": "a compaction",
    "import": "importing",
    "index": "indexing",
    "make": "what made the job",
    "option": "the option",
    "pack": "packing",
    "repair": "a repair",
    "retry": "a retry",
    "rollback": "a rollback",
    "search": "a search",
    "status": "its status",
    "verify": "a verification",
    "worker": "a worker",
}


@dataclass(frozen=True, slots=True)
class Remedy:
    """An action that mends, and what it does.

    `job` is the directory or URL of the job, or of the pack, that the action is for; "" if only the caller knows it.
    `does` is the half of a sentence that follows the action, as in "takes the partition back", or that holds {} in the
    place of the action. `given` are the other arguments of the action, by their names as options of the command and as
    arguments of the function; a flag has the value "". `then` is to be done after it, `otherwise` instead of it.
    """

    action: Action
    job: str = ""
    does: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    then: "Remedy | None" = None
    otherwise: "Remedy | None" = None

    def sentence(self, named: Callable[["Remedy"], str]) -> str:
        """All of it as half a sentence, without a full stop; `named` says how each action is called."""
        what = named(self)
        said = self.does.replace("{}", what, 1) if "{}" in self.does else f"{what} {self.does}".rstrip()
        if self.then is not None:
            said += f", and {self.then.sentence(named)}"
        if self.otherwise is not None:
            said += f"; {self.otherwise.sentence(named)}"
        return said

    def __str__(self) -> str:
        """The remedy in words that name no command."""
        return self.sentence(_in_words)

    def followed_by(self, other: "Remedy") -> "Remedy":
        """This remedy, and `other` after the last of its steps."""
        then = other if self.then is None else self.then.followed_by(other)
        return Remedy(self.action, self.job, self.does, self.given, then, self.otherwise)

    def to_json(self) -> dict[str, Any]:
        table: dict[str, Any] = {"action": self.action}
        table |= {name: text for name, text in (("job", self.job), ("does", self.does)) if text}
        table |= {"given": dict(self.given)} if self.given else {}
        after = (("then", self.then), ("otherwise", self.otherwise))
        return table | {name: remedy.to_json() for name, remedy in after if remedy is not None}

    @classmethod
    def from_json(cls, table: Any) -> "Remedy | None":
        """The inverse of `to_json`; None if this version does not know something in it or in a remedy that follows."""
        if not isinstance(table, dict) or table.get("action") not in ACTIONS:
            return None
        job, does, given = table.get("job", ""), table.get("does", ""), table.get("given", {})
        after = {name: cls.from_json(table[name]) for name in ("then", "otherwise") if name in table}
        if not isinstance(given, dict) or None in after.values():
            return None
        if not all(isinstance(text, str) for text in (job, does, *given, *given.values())):
            return None
        return cls(table["action"], job, does, given, after.get("then"), after.get("otherwise"))


def with_remedy(found: str, remedy: Remedy | None, named: Callable[[Remedy], str] | None = None) -> str:
    """The sentence of `found` and a remedy whose actions are called as `named` says; in plain words if there is no
    `named`.
    """
    if remedy is None:
        return found
    said = remedy.sentence(named or _in_words)
    return f"{found} {said[:1].upper()}{said[1:]}." if found.endswith((".", "!", "?")) else f"{found}: {said}."


def left_out(option: str, otherwise: str) -> Remedy:
    """To ask again without an option, or to do what the half-sentence `otherwise` says."""
    return Remedy("option", does=f"leave {{}} out, or {otherwise}", given={option: ""})


def _in_words(remedy: Remedy) -> str:
    given = {name: value for name, value in remedy.given.items() if name not in ("source", "role", "build")}
    options = " and ".join(f"{name}={value}" if value else name for name, value in given.items())
    if remedy.action == "option":
        return f"{_WORDS['option']} {options}"
    if remedy.action == "worker" and "role" in remedy.given:
        return f"a {remedy.given['role']} worker"
    words = " ".join([_WORDS[remedy.action], *filter(None, (remedy.given.get("source"), remedy.given.get("build")))])
    return f"{words} with {options}" if options else words
