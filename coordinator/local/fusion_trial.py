"""Have the fusion of a model tried on some images of a job, in a process of its own, before the job is made."""

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import Final

import numpy as np

from shared.errors import EngineError, ModelError
from shared.errors.remedy import left_out
from shared.images.location import Location
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.manifest import Partition
from shared.models import ModelSpec
from shared.models.fusion import Fusion, FusionTrial
from shared.processes import stage
from shared.settings import Settings, without_settings
from shared.storage import files, scratch

TRIAL_SECONDS = 3_600.0
"""How long it may take: seconds with the small models, a quarter of an hour with the largest on one core."""
SEED: Final = 0
DRAWN: Final = 640
"""How many images are drawn at most: some more than are used, as some can't be read."""


def refuse_without_levels(spec: ModelSpec) -> None:
    """Raise ModelError for a model whose levels are not in reach, or where the packages that run it are missing."""
    if spec.is_onnx:
        raise ModelError(
            f"{spec.weights_file} is an ONNX file, which gives one vector; fusion takes several levels of a model",
            remedy=left_out("fusion", "name an EfficientNet or a .keras file"),
        )
    if find_spec("cv2") is None:
        raise ModelError(
            "Fusion is learned on this machine, and the packages of a worker are not installed here: pip install "
            "'lookalike[worker]'",
            remedy=left_out("fusion", "make the job where they are"),
        )


def fused(
    spec: ModelSpec, job: JobDir, listed: int, settings: Settings, told: Callable[[str], None]
) -> tuple[ModelSpec, FusionTrial]:
    """The model of a job whose `listed` images are in its path lists: fused where that helps, and what was measured.

    A projection that was learned is written beside the job's model. `told` gets what is being done. Raises ModelError
    when the model can't be run or shows no levels, EngineError when the process that tries it ends.
    """
    told("Trying fusion …")
    environment = without_settings(os.environ) | replace(settings, broker_url=None).to_environment()
    with scratch.staged("projection.npy") as into:
        found = stage.result_of(
            "workers.evaluate.fusion.trial_process",
            [],
            lambda words: told(f"Trying fusion … {words['count']:,} {words['what']} embedded"),
            what="The process that tries fusion",
            request={
                "spec": spec.to_json(),
                "model_dir": str(job.model_dir),
                "images": [asdict(location) for location in drawn(job, listed, settings.partition_size)],
                "limits": [settings.max_image_pixels, settings.max_image_bytes],
                "into": str(into),
            },
            # More threads gain little on a few hundred rows, and lose much where others are at work.
            environment=environment | {"OPENBLAS_NUM_THREADS": "1"},
            seconds=TRIAL_SECONDS,
            ended=EngineError,
        )
        trial = FusionTrial.from_json(found["trial"])
        if not trial.kept:
            return spec, trial
        fusion = Fusion.from_json(found["fusion"])
        target = job.model_dir / fusion.projection_file
        files.write_bytes(target, into.read_bytes())
        if files.sha256_of(target) != fusion.projection_sha256:
            raise ModelError(f"{target} is not what was written: see that its disk has room, and try again.")
    return replace(spec, fusion=fusion, dim=int(found["dim"])), trial


def drawn(job: JobDir, listed: int, partition_size: int) -> list[Location]:
    """Where up to `DRAWN` images of a job are, drawn by chance, the same for the same number; in an order of chance."""
    ids = np.random.default_rng(SEED).choice(listed, size=min(DRAWN, listed), replace=False)
    found: dict[int, Location] = {}
    for number in np.unique(ids // partition_size).tolist():
        start = number * partition_size
        partition = Partition(number, start, min(start + partition_size, listed))
        locations = path_list.read_locations(job, partition)
        for image_id in ids[ids // partition_size == number].tolist():
            found[image_id] = locations[image_id - start]
    return [found[image_id] for image_id in ids.tolist()]
