"""Try an ONNX file on pictures, before a job is made of it: `python -m workers.models.onnx.trial_process`."""

import json
import sys
from pathlib import Path
from typing import Any

from shared.models import ModelSpec
from shared.processes.stage import exit_status, say
from shared.settings import Settings, load_settings
from workers.models import engines
from workers.models.onnx.trial import PICTURES


def tried(spec: ModelSpec, file: Path, settings: Settings) -> dict[str, Any]:
    """What an ONNX file turned out to be: `dim`, the dimensions of its vectors, and of how many `pictures`.

    Raises ModelError as `onnx_backbone.build` does.
    """
    backbone = engines.onnx(spec, file, settings.batch_size, settings.engine, PICTURES)
    return {"dim": backbone.dim, "pictures": PICTURES}


def main() -> int:
    """Try the `file` of the `spec` that the JSON object on stdin names."""
    request = json.load(sys.stdin)
    return exit_status(
        lambda: say(result=tried(ModelSpec.from_json(request["spec"]), Path(request["file"]), load_settings()))
    )


if __name__ == "__main__":
    sys.exit(main())
