"""Try fusion before a job is made: `python -m workers.evaluate.fusion.trial_process` prints JSON lines."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared.images.location import Location
from shared.images.members import Member
from shared.models import ModelSpec
from shared.models.fusion import Fusion
from shared.processes.stage import exit_status, say
from shared.settings import Settings, load_settings
from shared.storage import files
from shared.storage.stores import any_path
from workers.embed.partition import reading_threads
from workers.evaluate.fusion.sampling import Limits, read_sample
from workers.evaluate.fusion.trial import Models, try_fusion
from workers.models.loaded import fusable_levels, loaded_embedder


def tried(request: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """What came of a trial: `trial`, and where it was kept `fusion` and `dim`, whose projection is in the file `into`.

    `spec` and `model_dir` are those of the job's model, `images` the path and member of each image, `limits` the most
    pixels and bytes of one. Raises ModelError when the model can't be loaded or shows no levels.
    """
    spec, model_dir = ModelSpec.from_json(request["spec"]), any_path(request["model_dir"])
    locations = [_location(image) for image in request["images"]]
    max_pixels, max_bytes = map(int, request["limits"])
    limits = Limits(spec.image_size, max_pixels, max_bytes, spec.decode)
    fusion = Fusion(fusable_levels(spec, model_dir, settings))
    models = Models(
        loaded_embedder(spec, model_dir, settings),
        loaded_embedder(replace(spec, fusion=fusion, dim=None), model_dir, settings),
    )
    found = try_fusion(
        read_sample(locations, limits, settings.decode_threads or reading_threads(locations)),
        limits,
        models,
        settings.decode_threads or os.cpu_count() or 1,
        lambda what, count: say(what=what, count=count),
    )
    if found.projection is None:
        return {"trial": found.trial.to_json()}
    into = Path(request["into"])
    into.write_bytes(found.projection.to_bytes())
    fusion = replace(fusion, projection_sha256=files.sha256_of(into))
    return {"trial": found.trial.to_json(), "fusion": fusion.to_json(), "dim": found.projection.dim}


def _location(table: dict[str, Any]) -> Location:
    member = table["member"]
    return Location(table["path"], None if member is None else Member(**member), table["moved"])


def main() -> int:
    """Try what the JSON object on stdin asks for."""
    return exit_status(lambda: say(result=tried(json.load(sys.stdin), load_settings())))


if __name__ == "__main__":
    sys.exit(main())
