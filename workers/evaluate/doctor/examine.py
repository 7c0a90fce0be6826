"""Find GPU, engine, weights and export of a worker: `python -m workers.evaluate.doctor.examine` prints JSON lines."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.errors import ModelError
from shared.images.paths import expanded
from shared.models import LITE0_FILE, LITE0_PACKAGE, ModelSpec, imagenet_file, weights_sha256
from shared.processes.stage import exit_status, say
from shared.settings import Settings, load_settings
from workers.models import engines, exports

DRIVER_SECONDS = 20.0
_ASKED = "name,memory.total,memory.free,driver_version"


def weights_at_hand(spec: ModelSpec, model_dir: Path) -> dict[str, Any]:
    """Where the weights of a model are: `found` says whether they are there, `where` is the file, `why` the problem."""
    if spec.weights == "packaged":
        package = find_spec(LITE0_PACKAGE)
        path = None if package is None or package.origin is None else Path(package.origin).parent / LITE0_FILE
    elif spec.weights == "file":
        path = model_dir / (spec.weights_file or "")
    else:
        path = keras_home() / "models" / imagenet_file(spec.name)
    if path is None or not path.is_file():
        return {"source": spec.weights, "found": False, "where": None if path is None else str(path), "why": "missing"}
    why = ""
    if spec.weights_sha256 is not None:
        try:
            why = "" if weights_sha256(path) == spec.weights_sha256 else "another checksum than the model's"
        except ModelError as error:
            why = str(error)
    return {"source": spec.weights, "found": not why, "where": str(path), "why": why}


def keras_home() -> Path:
    """The directory in which Keras keeps what it downloads."""
    if os.environ.get("KERAS_HOME"):
        return expanded(Path(os.environ["KERAS_HOME"]))
    home = expanded(Path("~"))  # A home exists: `shared.storage.home` lends one if the user has none.
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras"


def engine_here(spec: ModelSpec, settings: Settings) -> dict[str, Any]:
    """What would run the model: `engine`, `why` not OpenVINO, and the export: `cached`, `where`, and its `trouble`.

    The export is None if OpenVINO would not look for one.
    """
    why = engines.against_openvino() if settings.engine == "auto" else ""
    if settings.engine == "keras" or why:
        return {"engine": "keras", "why": why, "export": None}
    if find_spec("openvino") is None:
        return {"engine": "keras", "why": "OpenVINO is not installed", "export": None}
    where = exports.directory_of(spec, settings.cache_dir)
    trouble = exports.trouble(spec, settings.cache_dir)
    return {
        "engine": "openvino",
        "why": "",
        "export": {"where": str(where), "cached": not trouble, "trouble": trouble if where.exists() else ""},
    }


def gpus_by_driver() -> dict[str, Any]:
    """The GPUs that NVIDIA's driver names: `gpus` with name and bytes of memory; `why` there are none."""
    if not engines.has_gpu():
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        return {"gpus": [], "why": "none is here" if hidden is None else f"CUDA_VISIBLE_DEVICES is {hidden!r}"}
    command = shutil.which("nvidia-smi")
    if command is None:
        return {"gpus": [], "why": "a device is here, and no nvidia-smi that could tell of it"}
    try:
        asked = subprocess.run(
            [command, f"--query-gpu={_ASKED}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=DRIVER_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return {"gpus": [], "why": f"nvidia-smi gave no answer within {DRIVER_SECONDS:g} s"}
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stdout", "") or getattr(error, "stderr", "") or str(error)
        return {"gpus": [], "why": f"nvidia-smi failed ({said.strip().splitlines()[0]})"}
    return {"gpus": [gpu for line in asked.stdout.splitlines() if (gpu := _gpu(line))], "why": ""}


def _gpu(line: str) -> dict[str, Any] | None:
    """One line of nvidia-smi; its megabytes are 1,048,576 bytes."""
    name, *rest = (part.strip() for part in line.rsplit(",", 3))
    with suppress(ValueError):
        total, free, driver = rest
        return {"name": name, "total": int(total) << 20, "free": int(free) << 20, "driver": driver}
    return None


def examine(spec: ModelSpec | None, model_dir: Path, settings: Settings) -> None:
    """Report what is here, cheapest first, each as soon as it is known: the last step loads TensorFlow, and may
    hang.
    """
    if spec is not None:
        say(weights=weights_at_hand(spec, model_dir))
        say(engine=engine_here(spec, settings))
    say(cache=str(exports.home_of(settings.cache_dir)))
    say(gpu=gpus_by_driver())
    # Only with a GPU: then it is worth seven seconds to know whether Keras can use it.
    if engines.has_gpu():
        say(keras=engines.keras_gpus())


def main() -> int:
    """Examine what the JSON object on stdin asks for: `spec` of a model (or null), `model_dir`."""
    request = json.load(sys.stdin)

    def run() -> None:
        spec = None if request.get("spec") is None else ModelSpec.from_json(request["spec"])
        examine(spec, Path(request["model_dir"]), load_settings())
        say(result={})

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
