"""Sum up what embedding cost: medians of the repeats, ratios to the article's way, and the share of the bound."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Run = Mapping[str, Any]


def summed(runs: Mapping[str, Sequence[Run]], device: str) -> dict[str, Any]:
    """For each way its runs and their medians; beside the article's, where that was measured, how many times its rate.

    The bound is that of `bound_of`; each run is compared with the parts that its own process measured.
    """
    found: dict[str, Any] = {}
    for way, repeats in runs.items():
        told: dict[str, Any] = {
            "images_per_second": _median(rate(run, "wall") for run in repeats),
            "images_per_cpu_second": _median(rate(run, "cpu") for run in repeats),
            **{peak: round(statistics.median(run[peak] for run in repeats)) for peak in _PEAKS},
        }
        if all(run.get("parts") for run in repeats):
            told["alone"] = {
                part: {kind: _median(rate(run["parts"][part], kind) for run in repeats) for kind in ("wall", "cpu")}
                for part in ("decode", "model")
            }
            told["bound"] = {
                kind: _median(bound_of(run["parts"], kind, device) for run in repeats) for kind in ("wall", "cpu")
            }
            told["share_of_bound"] = {
                kind: _median((rate(run, kind) / bound_of(run["parts"], kind, device) for run in repeats), 4)
                for kind in ("wall", "cpu")
            }
        found[way] = {"median": told, "runs": list(repeats)}
    if "article" in found:
        theirs = found["article"]["median"]
        for way in found.values():
            for key in ("images_per_second", "images_per_cpu_second"):
                way["median"][f"times_article_{key}"] = round(way["median"][key] / theirs[key], 3)
    return found


_PEAKS = ("peak_rss_bytes", "peak_own_bytes")


def rate(cost: Run, kind: str) -> float:
    """Images per second of the wall clock or of the CPU; `kind` is wall or cpu."""
    return float(cost["images"] / max(cost[f"{kind}_seconds"], 1e-9))


def bound_of(parts: Mapping[str, Run], kind: str, device: str) -> float:
    """The images per second that decoding and the model, each measured alone, allow together.

    On a CPU both need the same cores, so that an image costs the sum of both: 1 / (1/decode + 1/model), per CPU second
    from their CPU seconds, and by the wall clock from their rates when each has all cores. Beside a GPU the wall clock
    allows the slower of the two.
    """
    decode, model = (rate(parts[part], kind) for part in ("decode", "model"))
    return min(decode, model) if device == "gpu" and kind == "wall" else 1 / (1 / decode + 1 / model)


def _median(values: Iterable[float], digits: int = 2) -> float:
    return round(statistics.median(values), digits)
