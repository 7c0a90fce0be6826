"""Say what the index of a job was measured to do: when it was built, by its calibration, and by an evaluation."""

import json
import math
from collections.abc import Mapping
from typing import Any

from shared.errors import StoreError
from shared.job.index.builds import IndexInfo
from shared.job.index.calibration import VerdictsMeasured, calibration_of
from shared.job.opened import OpenJob
from shared.storage import files


def measured(job: OpenJob, info: IndexInfo) -> dict[str, Any]:
    """A build, what its verdicts and chances were measured to be, and the last evaluation of the job, if there is one.

    An evaluation has the name of its `build`, which may be an earlier one; one that can't be read has a `reason`
    instead.
    """
    calibration = calibration_of(job, info)
    serving = (info.nprobe, info.rerank_depth, info.list_margin, info.depth_ratio)
    return {
        "build": info.build,
        "type": info.type,
        "ntotal": info.ntotal,
        "bytes": info.bytes,
        "built_at": info.built_at,
        "seconds": round(sum(info.seconds.values()), 1),
        "recall_at_10": info.recall_at_10,
        "recall_queries": info.recall_queries,
        "p50_ms": info.p50_ms,
        "p99_ms": info.p99_ms,
        "accuracy_at_10": dict(info.accuracy_at_10),
        "accuracy_copies": info.accuracy_copies,
        "sweep": [dict(point) | {"promoted": _width(point) == serving} for point in info.sweep],
        "verdicts": calibration.verdicts.to_json(),
        "chances": {
            "measured": calibration.measured,
            "reason": calibration.reason,
            "copies": calibration.copies,
            "originals": calibration.originals,
            "nothing_there": calibration.nothing_there,
            "nothing_absent": calibration.nothing_absent,
        },
        "evaluation": _evaluation(job),
    }


def _evaluation(job: OpenJob) -> dict[str, Any] | None:
    """What is shown of the file beside the job, which anyone may have written; None where there is none."""
    try:
        table = json.loads(files.read_marker(job.evaluation), parse_constant=_no_number)
        accuracy = table["accuracy"]
        return {
            "build": str(table["build"]["name"]),
            "cores": _number(table["machine"]["cores"]),
            "recall_at_10": _number_or_none(table["recall_at_10"]),
            "queries": _number(table["queries"]),
            "p50_ms": _number(table["p50_ms"]),
            "p99_ms": _number(table["p99_ms"]),
            "batch": _number(table["batch"]),
            "queries_per_second": _number(table["queries_per_second"]),
            "accuracy_copies": _number(accuracy["copies"]),
            "accuracy_at_10": _number(accuracy["at_10"]) if accuracy["copies"] else None,
            "exact_at_10": _number(accuracy["exact_at_10"]) if accuracy["copies"] else None,
            "verdicts": _verdicts(table["verdicts"]).to_json(),
            "sweep": [_point(point) for point in table["sweep"]],
        }
    except FileNotFoundError:
        return None
    except (OSError, StoreError) as error:
        return {"reason": f"{job.evaluation} can't be read ({getattr(error, 'strerror', None) or error})."}
    except (ValueError, KeyError, TypeError) as error:
        return {"reason": f"{job.evaluation} is not what an evaluation of this version writes ({error!r})."}


def _verdicts(table: Mapping[str, Any]) -> VerdictsMeasured:
    # Where nothing was compared, there is the reason and no more.
    return VerdictsMeasured.from_json(table) if table["copies"] else VerdictsMeasured(reason=str(table["reason"]))


def _width(point: Mapping[str, Any]) -> tuple[Any, ...]:
    # Builds of an earlier version have no bounds.
    return point.get("nprobe"), point.get("depth"), point.get("list_margin", 0.0), point.get("depth_ratio", 0.0)


def _point(point: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "nprobe": _number(point["nprobe"]),
        "depth": _number(point["depth"]),
        "recall_at_10": _number_or_none(point["recall_at_10"]),
        "p50_ms": _number(point["p50_ms"]),
        "p99_ms": _number(point["p99_ms"]),
        "promoted": point["promoted"] is True,
    }


def _number(value: Any) -> int | float:
    if type(value) not in (int, float) or not -math.inf < value < math.inf:
        raise ValueError(f"{value!r:.40} is no number")
    number: int | float = value
    return number


def _number_or_none(value: Any) -> int | float | None:
    return None if value is None else _number(value)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")
