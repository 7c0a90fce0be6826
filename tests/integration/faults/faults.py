"""Faults for processes under test: rules that a test writes and lifts while unmodified `lookalike` commands run.

A `Faults` directory holds rules, one JSON file each. Child processes get `layer/` on their PYTHONPATH, so that Python
imports layer/sitecustomize.py at their start; it patches the file operations of `os` and `open`, and looks at the
directory every 20 ms or so. The steps that the product names with `failpoint("...")` meet the rules through
shared/processes/failpoints.py, without the layer. A rule counts over all processes together: `times=2` kills two
workers, whoever they are. What C++ does to a file by its path (FAISS) goes past the layer.

    faults = Faults(tmp_path / "faults")
    fault = faults.on_file("write", "*/chunks/*", do="half", error="ENOSPC", after=3, times=1)
    held = faults.on_step("promote_build", do="wait")
    worker = start("worker", "embed", env=environment(...) | faults.environment(light=True))
    wait_until(lambda: held.reached, "the worker is about to promote")
    held.lift()
"""

import builtins
import errno
import json
import os
import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

LAYER = Path(__file__).parent / "layer"

FILE_OPS = (
    *("open-read", "open-write", "read", "write", "link", "replace"),
    *("listdir", "fsync", "unlink", "mkdir", "stat"),
)
STEPS = {
    step
    for package in ("coordinator", "workers", "shared")
    for path in (Path(__file__).parents[3] / package).rglob("*.py")
    for step in re.findall(r"\bfailpoint\(\"(\w+)\"\)", path.read_text())
}
"""What the product calls the steps at which it asks whether a rule is for it."""
_ANYWHERE = {"error", "kill", "abort", "wait", "sleep"}
# What is done by doing the operation itself differently.
_BY_OP = {"write": {"half"}, "link": {"copy"}, "replace": {"copy"}, "listdir": {"lag"}}

LIGHT_COPIES = 8


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule in force until it is lifted."""

    directory: Path
    name: str

    @property
    def reached(self) -> int:
        """How often the fault has happened, or has begun to in the case of "wait", over all processes."""
        return len(self.pids)

    @property
    def pids(self) -> list[int]:
        """The process of each time."""
        try:
            return [int(line) for line in (self.directory / "hits" / f"{self.name}.reached").read_text().split()]
        except FileNotFoundError:
            return []

    def lift(self) -> None:
        """End the rule: who waits at it continues, and it happens to no one any more."""
        (self.directory / "rules" / f"{self.name}.json").unlink(missing_ok=True)


class Faults:
    """The rules of one directory. Make it before the processes start; rules may come and go while they run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "rules").mkdir(parents=True, exist_ok=True)
        (directory / "hits").mkdir(exist_ok=True)
        self._numbers = count()

    def on_file(
        self,
        op: str,
        pattern: str,
        *,
        do: str = "error",
        error: str = "ENOSPC",
        after: int = 0,
        times: int | None = None,
        seconds: float = 0.0,
    ) -> Fault:
        """A fault at an operation on the paths that `pattern` (fnmatch, where * passes slashes too) matches whole.

        `op` is one of FILE_OPS: replace is rename too, listdir is scandir too, and link and replace match by either
        path. `do` is "error" (raise OSError of that name), "kill" (SIGKILL itself), "abort" (as a crash in C),
        "wait" (until the rule is lifted), "sleep" (`seconds`); for write also "half" (half of the data, then the
        error), for link and replace "copy" (a copy in two pieces with `seconds` between them), for listdir "lag" (what
        appeared in the last `seconds` is not listed). The first `after` matches pass, then it happens `times` times.
        Reads and writes are seen of files that were opened after the rule was made.
        """
        if op not in FILE_OPS or do not in _ANYWHERE | _BY_OP.get(op, set()):
            raise ValueError(f"There is no fault {do!r} of the operation {op!r}.")
        return self._add(op, pattern, do, error, after, times, seconds)

    def on_step(
        self,
        step: str,
        *,
        do: str = "error",
        error: str = "EIO",
        after: int = 0,
        times: int | None = None,
        seconds: float = 0.0,
    ) -> Fault:
        """A fault where the product says `failpoint(step)`.

        As `on_file`; `do` may also be "freeze", and `error` the name of a built-in exception.
        """
        if step not in STEPS or do not in _ANYWHERE | {"freeze"}:
            raise ValueError(f"There is no fault {do!r} of the step {step!r}.")
        return self._add("failpoint", step, do, error, after, times, seconds)

    def _add(self, op: str, pattern: str, do: str, error: str, after: int, times: int | None, seconds: float) -> Fault:
        if not hasattr(errno, error) and not hasattr(builtins, error):
            raise ValueError(f"{error!r} is no error that a rule can name.")
        fault = Fault(self.directory, f"{next(self._numbers):04d}")
        rule = {
            "name": fault.name,
            "op": op,
            "pattern": pattern,
            "do": do,
            "error": error,
            "after": after,
            "times": times,
            "seconds": seconds,
        }
        aside = self.directory / "rules" / f".{fault.name}.tmp"
        aside.write_text(json.dumps(rule))
        os.replace(aside, self.directory / "rules" / f"{fault.name}.json")
        return fault

    def environment(
        self,
        *,
        light: bool = False,
        copies: int = LIGHT_COPIES,
        noise: float = 0.0,
        seconds_per_batch: float = 0.0,
        fingerprint_of_another: bool = False,
        message_version: int | None = None,
    ) -> dict[str, str]:
        """What a child process needs in its environment to meet these rules.

        `light` puts a model of a few milliseconds in the place of EfficientNet, without TensorFlow, whose bytes depend
        on its image alone, and makes altered copies of at most `copies` images in the place of 48. `noise` (say 1e-3)
        gives this process bytes of its own, as a GPU does, and `seconds_per_batch` makes it slow.
        `fingerprint_of_another` computes other fingerprints of models, as another version of lookalike might, and
        `message_version` speaks another version of the messages.
        """
        model = {
            "light": light,
            "copies": copies,
            "noise": noise,
            "seconds_per_batch": seconds_per_batch,
            "fingerprint_of_another": fingerprint_of_another,
            "message_version": message_version,
        }
        directory = str(self.directory)
        return _layer(model) | {"LK_FAULTS": directory, "LK_FAILPOINTS": directory}


def light_model() -> dict[str, str]:
    """What a process needs in its environment to have the light model, where no rule is needed."""
    plain = {"noise": 0.0, "seconds_per_batch": 0.0, "fingerprint_of_another": False, "message_version": None}
    return _layer(plain | {"light": True, "copies": LIGHT_COPIES})


def _layer(model: dict[str, Any]) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(LAYER), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "LK_MODEL": json.dumps(model)}
