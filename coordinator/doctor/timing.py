"""Time a sample of a source in a process of its own, as an embed worker would do it, and predict the whole."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from coordinator.display.remedies import typed
from coordinator.doctor.checks import Check, ok, problem, warning
from coordinator.doctor.estimate import Prediction, predict
from coordinator.doctor.source_sample import ListedSource, shown
from shared.errors import LookalikeError, WorkerFailed
from shared.models import ModelSpec
from shared.processes.load import StageLoad
from shared.processes.stage import result_of
from shared.settings import ON, Settings
from shared.text import size

LOAD_SECONDS: Final = 300.0
"""How long loading the model may take. The first time it is exported, which takes minutes with the largest."""

_PATIENCE_SECONDS: Final = 60.0
# From this share of the timed sample on, a person should look at the failures before days go into the rest.
_MANY_FAILED: Final = 0.05
# If less than this share of the bytes came from a disk, the rest was in memory and says nothing about the disk.
_CACHED: Final = 0.5

_ADVICE: Final = {
    "list": "the names come too slowly: give a .txt list of the paths, or copy the images to a local disk first",
    "read": "the images come too slowly from where they lie: copy them to a local disk first",
    "decode": "more cores, more machines or smaller images help",
    "model": "a GPU, --precision bf16 where the CPU has it, more machines or a smaller --model help",
}


@dataclass(frozen=True, slots=True)
class TimedSample:
    """What the process measured, as it reports it, and what that means for the whole; None if nothing was timed."""

    measured: dict[str, Any]
    load: StageLoad | None
    prediction: Prediction | None


def threads_of(settings: Settings) -> int:
    """The number of threads in which an embed worker of this machine reads and decodes files on disks."""
    return settings.decode_threads or os.cpu_count() or 1


def run(
    listed: ListedSource,
    spec: ModelSpec,
    model_dir: Path,
    settings: Settings,
    *,
    seconds: float,
    environment: dict[str, str],
    told: Callable[[str], None],
) -> tuple[TimedSample | None, list[Check]]:
    """Have the sample of `listed` timed for `seconds`; `told` gets each step. Problems that it finds never raise."""
    began = False

    def measured(alone: bool) -> dict[str, Any]:
        def said(words: dict[str, Any]) -> None:
            nonlocal began
            began = True
            told(f"{words['images']:,} images read")

        told("loading the model")
        return result_of(
            "workers.evaluate.doctor.sample",
            [],
            said,
            what="The process that times a sample",
            request={
                "images": [asdict(location) for location in listed.sample],
                "listed": listed.count,
                "spec": spec.to_json(),
                "model_dir": str(model_dir),
                "threads": settings.decode_threads,
                "seconds": seconds,
                "limits": [settings.max_image_pixels, settings.max_image_bytes],
                "alone": alone,
                "features": settings.copies == ON,
            },
            environment=environment,
            seconds=LOAD_SECONDS + seconds + _PATIENCE_SECONDS,
            ended=WorkerFailed,
        )

    try:
        try:
            found = timed_sample_of(listed, measured(alone=False), spec, settings)
        except WorkerFailed:
            if not began:
                raise
            # An image may have ended it. An embed worker would be started again, and read that one alone.
            told("a process was ended; reading each image in one of its own")
            try:
                found = timed_sample_of(listed, measured(alone=True), spec, settings)
            except WorkerFailed as error:
                raise WorkerFailed(f"{error}\nNo image ended it: each was read in a process of its own.") from None
    except LookalikeError as error:
        return None, [problem("sample", typed(error))]
    return found, [check for check in (readable(found), slowest(found, listed), disk_felt(found)) if check is not None]


def timed_sample_of(listed: ListedSource, measured: dict[str, Any], spec: ModelSpec, settings: Settings) -> TimedSample:
    """The result of the process, and the prediction from it."""
    load = StageLoad.from_json(measured["load"])
    if not measured["embedded"]:
        return TimedSample(measured, load, None)
    prediction = predict(
        images=listed.count,
        marks=[(count, at) for count, at in measured["marks"]],
        dim=measured["dim"],
        path_bytes=listed.mean_path_bytes,
        index_bytes=measured["index"]["bytes"],
        partition_size=settings.partition_size,
        chunk_size=settings.chunk_size or spec.chunk_size,
        list_seconds=listed.seconds,
        model_seconds=measured["model_seconds"],
        embed_memory=measured["peak_bytes"],
        feature_bytes=measured["feature_bytes"] / measured["embedded"] if settings.copies == ON else None,
    )
    return TimedSample(measured, load, prediction)


def readable(found: TimedSample) -> Check:
    """Whether the images can be read and decoded."""
    read, failed = found.measured["read"], found.measured["failed"]
    count = sum(failed.values())
    facts = {"read": read, "failed": failed, "examples": found.measured["examples"]}
    if not read:
        sentence = "No image came within the time: the disk does not answer, or takes long. Give it more --seconds."
        return problem("sample", sentence, **facts)
    if not count:
        return ok("sample", f"All {read:,} images that were tried can be read.", **facts)
    reasons = ", ".join(f"{number:,} {status}" for status, number in sorted(failed.items()))
    example = found.measured["examples"][0]
    said = f"{count:,} of {read:,} images failed ({reasons}), such as {shown(example['path'])}: {example['error']}"
    if count == read:
        return problem("sample", f"{said} Check that SOURCE names what you mean, and that its disk is there.", **facts)
    if count > _MANY_FAILED * read:
        return warning("sample", f"{said} See to it before days go into the rest.", **facts)
    return ok("sample", f"{said} Each becomes a row with its reason.", **facts)


def slowest(found: TimedSample, listed: ListedSource) -> Check | None:
    """The stage that holds up the others; None if nothing went through all of them."""
    if found.load is None or found.prediction is None:
        return None
    # Listing comes before all the others, and once.
    stage = "list" if listed.seconds > listed.count / found.prediction.rate else found.load.bottleneck
    rate = f"{found.prediction.rate:,.0f}" if found.prediction.rate >= 10 else f"{found.prediction.rate:.2g}"
    sentence = f"{stage.capitalize()}, at {rate} images/s in one embed worker: {_ADVICE[stage]}."
    return ok("bottleneck", sentence, stage=stage, images_per_second=round(found.prediction.rate, 2))


def disk_felt(found: TimedSample) -> Check | None:
    """A warning if the images came from the system's cache, so that their disk was not measured."""
    total, fetched = found.measured["bytes"], found.measured["bytes_from_disk"]
    if fetched is None or not total or fetched >= _CACHED * total:
        return None
    sentence = (
        f"Of {size(total)} the system fetched {size(fetched)} from a disk now, by its own count: the rest was in its "
        "memory, or on a mount that it does not count. From a cold disk the reading may be slower."
    )
    return ok("cold disk", sentence, bytes=total, bytes_from_disk=fetched)


def to_json(found: TimedSample) -> dict[str, Any]:
    """The sample and its prediction, for programs; a time without end is null."""
    prediction = None
    if found.prediction is not None:
        prediction = asdict(found.prediction) | {"memory": found.prediction.memory}
        prediction["high"] = None if prediction["high"] == float("inf") else prediction["high"]
    measured = {key: value for key, value in found.measured.items() if key != "marks"}
    return {"measured": measured, "prediction": prediction}
