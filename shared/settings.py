"""Load settings, frozen: defaults < lookalike.toml < environment < command line; an unknown key is an error."""
# Over 250 lines: nearly half of them are the declarations of the settings, which are to be read in one place.

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from shared.errors import SettingsError, UsageError
from shared.models import PRECISIONS
from shared.models.preprocessing import DECODES
from shared.storage.stores import StorePath, any_path

PREFIX = "LOOKALIKE_"
CONFIG_VARIABLE = "LOOKALIKE_CONFIG"
# Tells a worker which file descriptor is a pipe that its coordinator holds the other end of. Not a setting.
PARENT_PIPE = "LK_PARENT_PIPE"
ENGINES = ("auto", "openvino", "keras")
# The variables by which other tools name the broker; the first that is set counts.
BROKER_VARIABLES = ("LOOKALIKE_BROKER_URL", "CELERY_BROKER_URL", "REDIS_URL")

ON, OFF = "on", "off"
COPIES = SWITCH = (ON, OFF)
ANY_MODEL = "any"
"""What the setting finer_model says for a worker that runs whatever finer model a search names."""

_KINDS = {str: "text", Path: "a path", int: "a whole number", float: "a number"}


def _setting(
    default: Any,
    what: str,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    return field(default=default, metadata={"what": what, "least": least, "most": most, "choices": choices})


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings: a key `name` is `name` in lookalike.toml and `LOOKALIKE_NAME` in the environment."""

    broker_url: str | None = _setting(
        None, "Redis or Valkey that carries the messages; unset: an embedded one is started on a private socket"
    )
    jobs_root: Path | None = _setting(
        None, "directory or URL that holds the jobs a worker serves; unset: the parent of the JOB that was typed"
    )
    model: str | None = _setting(
        None,
        "model of a new job: a name, or the path of a .keras or .onnx file; unset: efficientnet-lite0, or the job's",
    )
    model_input: str | None = _setting(
        None,
        "how the model of an .onnx file takes images, where the file does not say it: 224 NCHW RGB scale=1/255 "
        "mean=0.485,0.456,0.406 std=0.229,0.224,0.225; unset: as the file or the job says",
    )
    model_output: str | None = _setting(
        None,
        "which output of an .onnx file is the embedding, and how it is pooled: image_embeds, or last_hidden_state "
        "pool=cls; unset: as the file or the job says",
    )
    weights: Path | None = _setting(None, "weights file for the model, where the packaged or downloaded ones won't do")
    partition_size: int = _setting(50_000, "images in one embed task of a new job", 1)
    chunk_size: int | None = _setting(
        None,
        "images in one checkpoint of a new job; unset: by the model, under a minute",
        1,
        100_000,  # A chunk is one Arrow list array, whose offsets are 32 bits wide.
    )
    engine: str = _setting(
        "auto", "what runs the model; auto: OpenVINO on a CPU, where it is installed, else Keras", choices=ENGINES
    )
    precision: str | None = _setting(
        None,
        "arithmetic of a new job's model: f32; bf16 for CPUs that have it; f16 for GPUs, which take it for bf16 too; "
        "whoever has neither computes in float32; unset: f32, or the job's own",
        choices=PRECISIONS,
    )
    decode: str | None = _setting(
        None,
        "how the images of a new job are decoded; reduced: JPEGs no larger than need be, pixels averaged; strict: as "
        "the article does, whole and linear; unset: reduced, or the job's own",
        choices=DECODES,
    )
    copies: str | None = _setting(
        None,
        "whether a new job stores what tells copies of a picture apart beside each embedding, on or off; unset: off, "
        "or as the job does; on also adds it to a job that has none",
        choices=COPIES,
    )
    fusion: str | None = _setting(
        None,
        "whether fusion of several levels of the model is tried for a new job, on or off; it is kept where it finds "
        "more altered copies of the job's own images; unset: off, or as the job was made",
        choices=SWITCH,
    )
    cache_dir: Path | None = _setting(
        None,
        "directory that keeps the models made for OpenVINO and the embeddings of finer models; unset: lookalike in the "
        "user's cache directory",
    )
    job_cache_dir: Path | None = _setting(
        None,
        "directory for local copies of what is searched and merged of jobs in stores; unset: lookalike/jobs in the "
        "user's cache directory",
    )
    job_cache_bytes: int = _setting(
        20_000_000_000, "bytes of such copies above which the longest unused go; those in use stay", 0
    )
    batch_size: int | None = _setting(
        None,
        "images in one model call; unset: 8 on a CPU, or two a core where that is more; on a GPU 256 or as many as fit",
        1,
    )
    decode_threads: int | None = _setting(
        None, "threads that read and decode images; unset: one a core, 16 for images behind URLs", 1
    )
    max_image_pixels: int = _setting(
        178_956_970, "pixels by the header above which an image of a new job is refused", 1
    )
    max_image_bytes: int = _setting(268_435_456, "bytes above which an image file of a new job is refused", 1)
    max_query_bytes: int = _setting(33_554_432, "bytes above which a query image is refused", 1)
    decode_seconds: float = _setting(20.0, "seconds after which a query image that is being decoded is given up", 0.1)
    decode_memory_bytes: int = _setting(
        3_221_225_472, "bytes of memory above which the decoding of a query image is given up, on Linux", 1_048_576
    )
    max_queries: int = _setting(1_024, "queries that one search message may carry", 1)
    lease_seconds: float = _setting(20.0, "time after which a partition of a worker that went silent is free", 1)
    visibility_timeout: int = _setting(
        45, "seconds after which the broker hands out a silent worker's message again", 3
    )
    recall_target: float = _setting(0.99, "recall@10 that an index is tuned to reach, if none is asked for", 0, 1)
    query_threads: int | None = _setting(None, "queries that a query worker answers at once; unset: one a core", 1)
    verify_candidates: int = _setting(
        100, "nearest images that a query is compared with where its hits are to be verified", 1, 1_000
    )
    verify_seconds: float = _setting(10.0, "seconds that verifying the hits of a query may take", 0.1)
    verify_cache_bytes: int = _setting(
        67_108_864, "bytes of local features of images that a query worker remembers; 0: none", 0
    )
    finer_model: str | None = _setting(
        None,
        "finer model that a query worker may run: a name, or the path of a .keras or .onnx file; any: whatever a "
        "search names, for workers that only their own user reaches; unset: none",
    )
    finer_input: str | None = _setting(None, "how an .onnx file of finer_model takes images, as model_input says it")
    finer_output: str | None = _setting(None, "which output of such a file is the embedding, as model_output says it")
    finer_candidates: int = _setting(100, "nearest images of a query that a finer model compares", 1, 1_000)
    finer_seconds: float = _setting(20.0, "seconds that a finer model may take for a query", 0.1)
    finer_cache_bytes: int = _setting(
        1_000_000_000, "bytes of embeddings of finer models in the cache directory, the longest unused go; 0: none", 0
    )
    pdq_bytes: int = _setting(
        536_870_912,
        "bytes that a query worker keeps of the PDQs of open jobs, some 120 an image; 0: it looks none up",
        0,
    )
    query_cache_size: int = _setting(1_024, "answers that a query worker remembers; 0: none", 0)
    shards: str | None = _setting(None, "shards of each index that a query worker holds: 0-3, 5, or 4-; unset: all")
    open_jobs: int = _setting(4, "jobs whose index a query worker keeps open", 1)
    compact_share: float = _setting(0.2, "removed share of a partition above which `index` compacts it", 0, 1)
    compact_small: int = _setting(8, "small neighbouring partitions from which on `index` makes one of them", 2)
    flower_port: int = _setting(5555, "port of Flower on 127.0.0.1", 0, 65_535)
    http_port: int = _setting(8000, "port at which the HTTP API listens", 0, 65_535)
    http_searches: int = _setting(16, "searches that the HTTP API has with the query workers at once", 1, 1_000)
    thumbnail_cache_bytes: int = _setting(
        268_435_456, "bytes of thumbnails that the HTTP API keeps in the system's temporary directory", 0
    )
    http_waiting: int = _setting(512, "searches that may wait for one of those; more are refused", 0)

    def __post_init__(self) -> None:
        for key in fields(self):
            least, most, value = key.metadata["least"], key.metadata["most"], getattr(self, key.name)
            choices = key.metadata["choices"]
            if choices is not None and value is not None and value not in choices:
                raise SettingsError(f"The setting {key.name} is {value!r}; expected one of {', '.join(choices)}.")
            # The comparison is negated so that NaN, for which none is true, is refused too.
            if value is not None and least is not None and not value >= least:
                raise SettingsError(f"The setting {key.name} is {value}; it must be at least {least:,}.")
            if value is not None and most is not None and not value <= most:
                raise SettingsError(f"The setting {key.name} is {value}; it must be at most {most:,}.")
        for name in ("cache_dir", "job_cache_dir"):
            if isinstance(place := getattr(self, name), StorePath):
                raise SettingsError(f"The setting {name} is {place}; it must be a directory of this machine.")
        if self.lease_seconds >= self.visibility_timeout:
            raise SettingsError(
                f"lease_seconds ({self.lease_seconds:g}) must be below visibility_timeout ({self.visibility_timeout}), "
                "or a message comes back while its lease still keeps everyone out."
            )

    def changed(self, **values: Any) -> "Settings":
        """A copy with those of `values` that are not None, as a command line gives them."""
        return replace(self, **{key: value for key, value in values.items() if value is not None})

    def to_environment(self) -> dict[str, str]:
        """The environment that gives a child process these settings, whatever its working directory: paths are
        absolute.
        """
        values = {key.name: getattr(self, key.name) for key in fields(self)}
        return {
            PREFIX + name.upper(): str(any_path(value).absolute() if isinstance(value, Path) else value)
            for name, value in values.items()
            if value is not None
        }


def _kinds() -> dict[str, type]:
    """The plain type of each key: `int | None` counts as int."""
    kinds: dict[str, type] = {}
    for key in fields(Settings):
        # Annotations are live objects here (no string annotations), so a union lists its members.
        members: tuple[Any, ...] = getattr(key.type, "__args__", (key.type,))
        kinds[key.name] = next(kind for kind in members if kind is not type(None))
    return kinds


def _convert(key: str, value: Any, kind: type, where: str) -> Any:
    refused = SettingsError(f"{where} sets {key} to {value!r}; expected {_KINDS[kind]}.")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise refused
    if kind in (str, Path) and not isinstance(value, str):
        raise refused
    if kind is Path and not value:  # An empty path would be the working directory, wherever that is.
        raise refused
    if kind is int and isinstance(value, float):
        raise refused
    try:
        if kind is Path:
            return any_path(str(value))
        return kind(value.replace("_", "") if kind is int and isinstance(value, str) else value)
    except ValueError:
        raise refused from None
    except UsageError as error:
        raise SettingsError(f"{where} sets {key}: {error}") from None


def _from_file(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError:
        raise SettingsError(f"{CONFIG_VARIABLE} names {path}, which does not exist.") from None
    except (OSError, ValueError) as error:  # Not TOML, or not UTF-8.
        raise SettingsError(f"{path} can't be read as TOML: {error}.") from None
    kinds = _kinds()
    for key in table:
        if key not in kinds:
            raise SettingsError(f"{path} has the unknown key {key!r}; the known ones are {', '.join(kinds)}.")
    return {key: _convert(key, value, kinds[key], str(path)) for key, value in table.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    kinds = _kinds()
    found: dict[str, Any] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE:
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key not in kinds:
            raise SettingsError(
                f"The environment has {variable}, which is no setting of lookalike; "
                f"the known ones are {', '.join(PREFIX + known.upper() for known in kinds)}."
            )
        if value:  # An empty variable is how compose files and shells say "not set".
            found[key] = _convert(key, value, kinds[key], f"The environment ({variable})")
    urls = [environ[variable] for variable in BROKER_VARIABLES if environ.get(variable)]
    if urls:
        found["broker_url"] = urls[0]
    return found


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` less every variable that `load_settings` reads."""
    return {
        variable: value
        for variable, value in environ.items()
        if not variable.startswith(PREFIX) and variable not in BROKER_VARIABLES
    }


def load_settings(environ: Mapping[str, str] | None = None, directory: Path | None = None) -> Settings:
    """Settings of this process: defaults, then the file, then the environment.

    The file is the one LOOKALIKE_CONFIG names, else `lookalike.toml` in `directory` (the working directory) if there
    is one. Raises SettingsError on an unknown key or a value that does not fit.
    """
    environ = os.environ if environ is None else environ
    path = _file(environ, directory)
    return Settings(**((_from_file(path) if path is not None else {}) | _from_environment(environ)))


def _file(environ: Mapping[str, str], directory: Path | None) -> Path | None:
    """The file of settings; None if there is none. A file that is named need not exist."""
    named = environ.get(CONFIG_VARIABLE)
    path = Path(os.path.expanduser(named)) if named else (directory or Path.cwd()) / "lookalike.toml"
    return path if named or path.is_file() else None


def broker_origin(environ: Mapping[str, str] | None = None, directory: Path | None = None) -> str | None:
    """The variable or the file that `load_settings` takes the broker from; None if none names a broker."""
    environ = os.environ if environ is None else environ
    for variable in BROKER_VARIABLES:
        if environ.get(variable):
            return variable
    path = _file(environ, directory)
    return str(path) if path is not None and _from_file(path).get("broker_url") else None
