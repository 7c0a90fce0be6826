"""Define the options that several commands have, and check the files that several write."""

from pathlib import Path
from typing import Annotated

import typer

from shared.errors import UsageError
from shared.images.paths import expanded
from shared.job.index.request import FAMILIES, MOST_SHARDS
from shared.settings import COPIES, ENGINES
from shared.storage.stores import StorePath, any_path

Job = Annotated[Path, typer.Argument(metavar="JOB", help="Directory of the job.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")]
Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        metavar="URL",
        help="Redis that carries the messages; left out: an embedded one is started.",
    ),
]
Model = Annotated[str | None, typer.Option("--model", help="Model name, or the path of a .keras or .onnx file.")]
ModelInput = Annotated[
    str | None,
    typer.Option(
        "--model-input",
        metavar="WORDS",
        help="How an .onnx file takes images, where it does not say so: 224 NCHW RGB scale=1/255 mean=… std=….",
    ),
]
ModelOutput = Annotated[
    str | None,
    typer.Option(
        "--model-output",
        metavar="WORDS",
        help="The output of an .onnx file that is the embedding, and how it is pooled: NAME pool=mean, cls or gem.",
    ),
]
FinerInput = Annotated[
    str | None,
    typer.Option(
        "--finer-input", metavar="WORDS", help="How the .onnx file of --finer takes images; see --model-input."
    ),
]
FinerOutput = Annotated[
    str | None,
    typer.Option("--finer-output", metavar="WORDS", help="The output of such a file to take; see --model-output."),
]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="Weights file for the model, for machines without a network.")
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="|".join(ENGINES),
        help="What runs the model; left out: OpenVINO on a CPU, where it is installed, else Keras.",
    ),
]
Copies = Annotated[
    str | None,
    typer.Option(
        "--copies",
        metavar="|".join(COPIES),
        help="Store what tells copies of a picture apart (PDQ, local features); on also adds it to a JOB without.",
    ),
]
Fusion = Annotated[
    bool,
    typer.Option(
        "--fusion",
        help="A new JOB tries several levels of its model as one vector, on some of its images; kept if that helps.",
    ),
]
IndexName = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="INDEX",
        help=f"{', '.join(FAMILIES)}, or a FAISS factory string; left out: as it was asked for before, or auto.",
    ),
]
Recall = Annotated[
    float | None,
    typer.Option("--recall", min=0.0, max=1.0, help="recall@10 that the index is tuned to reach; left out: 0.99."),
]
IndexMemory = Annotated[
    str | None,
    typer.Option("--index-memory", metavar="SIZE", help="What the index may take, such as 500MB; left out: no limit."),
]
Shards = Annotated[
    int | None,
    typer.Option(
        "--shards",
        min=1,
        max=MOST_SHARDS,
        metavar="N",
        help="Files of the index, filled side by side by as many merge workers; left out: as before, or 1.",
    ),
]
ShardMemory = Annotated[
    str | None,
    typer.Option(
        "--shard-memory",
        metavar="SIZE",
        help="As few shards as keep each one's file below SIZE, such as 2GB, whatever comes to JOB later.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="PATTERN",
        help="Leave out files and folders below SOURCE that match, as in a .gitignore; may be given again.",
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="PATTERN",
        help="Take what matches although an --exclude or the default leaves it out; may be given again.",
    ),
]
Sniff = Annotated[bool, typer.Option("--sniff", help="Take files without suffix whose first bytes are an image's.")]


def new_file(path: Path, suffix: str, what: str) -> Path:
    """The file that `what` is to be written to, as an absolute path; raises UsageError where it can't be."""
    if isinstance(any_path(path), StorePath):
        raise UsageError(f"{what} is written on this machine, and {path} is in a store: give it a path here.")
    path = expanded(path).absolute()
    if path.suffix.lower() != suffix:
        raise UsageError(
            f"{what} is written to a file that ends in {suffix}, and {path.name} does not: give it such a name."
        )
    if not path.parent.is_dir():
        raise UsageError(f"{what} can't be written to {path}, as there is no directory {path.parent}: make it first.")
    if path.exists():
        raise UsageError(f"{path} is there already: remove it, or choose another name.")
    return path
