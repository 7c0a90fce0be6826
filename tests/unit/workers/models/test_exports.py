"""Exports: made once, the same features as Keras, kept whole or made again, and refused where they differ."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import EngineError, ModelError
from shared.models import ModelSpec, resolve_model
from shared.models.fusion import Fusion
from shared.processes import stage
from shared.processes.own import module_command
from workers.images.decode import decode
from workers.models import export_process, exports
from workers.models.embedder import Embedder, load_embedder
from workers.models.openvino_backbone import OpenVinoBackbone, capabilities, openvino

# Keras asks TensorFlow's arrays for a copy in a way that NumPy 2 wants put otherwise.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.timeout(600),  # TensorFlow alone takes a while on a busy machine.
    pytest.mark.slow,
]

SPEC = resolve_model("efficientnet-lite0")
NOWHERE = Path("no-model-directory")
PHOTOS = ("chelsea.png", "coffee.png", "motorcycle_left.png")


@pytest.fixture(scope="module")
def photos() -> NDArray[np.uint8]:
    return np.stack([decode((files("skimage") / "data" / name).read_bytes(), 224, 10**8).pixels for name in PHOTOS])


@pytest.fixture(scope="module")
def lite0(run_cache: Path) -> Embedder:
    return load_embedder(SPEC, NOWHERE, engine="openvino", cache_dir=run_cache)


@pytest.fixture
def cache(tmp_path: Path, lite0: Embedder, run_cache: Path) -> Path:
    """A cache of the test's own that holds a whole export."""
    ours = exports.directory_of(SPEC, tmp_path)
    shutil.copytree(exports.directory_of(SPEC, run_cache), ours)
    return tmp_path


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, lite0: Embedder, run_cache: Path) -> list[ModelSpec]:
    """What is asked of the exporting process, which here copies the files of the export that is there."""
    asked: list[ModelSpec] = []

    def copy(spec: ModelSpec, weights: Path | None, directory: Path) -> dict[str, Any]:
        asked.append(spec)
        for name in (exports.MODEL, exports.VALUES):
            shutil.copy(exports.directory_of(SPEC, run_cache) / name, directory)
        return {"checked": {}}

    monkeypatch.setattr(stage, "speaking", saying(copy))
    return asked


Make = Callable[[ModelSpec, Path | None, Path], dict[str, Any]]


def saying(make: Make) -> Callable[..., Any]:
    """In place of the processes that a stage starts: an exporting one that does what it is asked as `make` does."""

    @contextmanager
    def speaking(module: str, arguments: Sequence[str], **_: Any) -> Iterator[Iterator[dict[str, Any]]]:
        assert module == "workers.models.export_process"
        asked = json.loads(arguments[0])
        weights = asked["weights"] and Path(asked["weights"])
        yield iter([{"result": make(ModelSpec.from_json(asked["spec"]), weights, Path(asked["directory"]))}])

    return speaking


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports are made in this process, which has loaded TensorFlow already; that takes each of its own seconds."""
    import tensorflow

    def made_here(spec: ModelSpec, weights: Path | None, directory: Path) -> dict[str, Any]:
        with tensorflow.device("CPU"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # As in a process of their own, whose warnings are no one's.
            return export_process.export(spec, weights, directory)

    monkeypatch.setattr(stage, "speaking", saying(made_here))


def test_openvino_gives_the_features_of_keras(lite0: Embedder, photos: NDArray[np.uint8]) -> None:
    keras = load_embedder(SPEC, NOWHERE, engine="keras")
    found, expected = lite0.embed(photos), keras.embed(photos)
    assert (lite0.dim, lite0.image_size, lite0.fingerprint) == (1280, 224, keras.fingerprint)
    assert (found * expected).sum(axis=1).min() > 0.999999
    assert np.abs(found - expected).max() < 1e-6
    assert (found @ found.T)[~np.eye(len(photos), dtype=bool)].max() < 0.7


def test_the_bytes_of_an_embedding_depend_on_its_image_alone(
    lite0: Embedder, photos: NDArray[np.uint8], run_cache: Path
) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (7, 224, 224, 3), dtype=np.uint8)
    images = np.concatenate([noise, photos])
    together = lite0.embed(images)
    alone = np.concatenate([lite0.embed(image[None]) for image in images])
    assert together.tobytes() == alone.tobytes()
    assert together.tobytes() == lite0.embed(images).tobytes()  # Nor is a result of before overwritten.
    # A query worker has all cores work on one image, an embed worker each core on its own.
    found = load_embedder(SPEC, NOWHERE, 1, engine="openvino", cache_dir=run_cache)
    assert (lite0.batch_size >= 8, found.batch_size) == (True, 1)
    assert together.tobytes() == found.embed(images).tobytes()


def test_float32_is_asked_for_and_eight_images_a_call_one_a_stream(lite0: Any) -> None:
    compiled = lite0._backbone._requests[0].get_compiled_model()
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert lite0.batch_size >= 8
    assert list(compiled.input(0).shape) == [1, 224, 224, 3]
    assert compiled.input(0).element_type == openvino.Type.u8


def test_bfloat16_is_near_and_is_another_model(cache: Path, lite0: Embedder, photos: NDArray[np.uint8]) -> None:
    if "BF16" not in capabilities():
        pytest.skip("this CPU does not compute in bfloat16")
    spec = resolve_model("efficientnet-lite0", precision="bf16")
    rounded = load_embedder(spec, NOWHERE, engine="openvino", cache_dir=cache)
    cosines = (rounded.embed(photos) * lite0.embed(photos)).sum(axis=1)
    assert 0.999 < cosines.min() < 0.999999
    assert rounded.fingerprint != lite0.fingerprint


def test_a_worker_with_an_export_imports_no_tensorflow_and_takes_little_memory(cache: Path) -> None:
    program = """
import sys, pathlib, numpy as np
from shared.models import resolve_model
from workers.models.embedder import load_embedder
embedder = load_embedder(resolve_model("efficientnet-lite0"), pathlib.Path("x"), cache_dir=pathlib.Path(sys.argv[1]))
embedder.embed(np.zeros((9, 224, 224, 3), np.uint8) + 9)
assert type(embedder._backbone).__name__ == "OpenVinoBackbone"
print(sorted({"tensorflow", "keras"} & sys.modules.keys()))
if sys.platform == "linux":
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    assert int(peak.split()[1]) < 350_000, peak
"""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", program, cache], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("room", ["workers.models.openvino_backbone", "workers.models.export_process"])
def test_openvino_reports_nothing_to_its_makers(room: str, tmp_path: Path) -> None:
    program = f"import {room}, sys; print(*(name for name in sys.modules if name.startswith('openvino_telemetry.')))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    assert done.stdout == "\n"
    assert not (tmp_path / "intel").exists()


def test_all_precisions_and_ways_of_decoding_share_one_export(cache: Path, made: list[ModelSpec]) -> None:
    rounded = resolve_model("efficientnet-lite0", precision="bf16")
    assert exports.find_or_make(rounded, None, cache) == exports.find_or_make(SPEC, None, cache)
    strict = resolve_model("efficientnet-lite0", decode="strict")
    assert exports.find_or_make(strict, None, cache) == exports.find_or_make(SPEC, None, cache)
    assert exports.directory_of(replace(SPEC, image_size=240), cache) != exports.directory_of(SPEC, cache)
    assert made == []


@pytest.mark.parametrize("file", [exports.MODEL, exports.VALUES, exports.RECORD])
@pytest.mark.parametrize("harm", ["removed", "cut short", "one byte changed"])
def test_a_damaged_export_is_made_anew(
    file: str, harm: str, cache: Path, made: list[ModelSpec], caplog: pytest.LogCaptureFixture
) -> None:
    path = exports.directory_of(SPEC, cache) / file
    data = bytearray(path.read_bytes())
    if harm == "removed":
        path.unlink()
    elif harm == "cut short":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[data.index(b'"model.bin"') + 15 if file == exports.RECORD else len(data) // 2] ^= 1
        path.write_bytes(data)
    found = exports.find_or_make(SPEC, None, cache)
    assert made == [SPEC]
    assert "is damaged (" in caplog.text
    assert exports.trouble(SPEC, cache) == ""
    assert OpenVinoBackbone(found, 224, 1, "f32").dim == 1280
    assert exports.find_or_make(SPEC, None, cache) == found
    assert len(made) == 1


def with_record(folder: Path, change: Callable[[Any], Any]) -> None:
    record = json.loads((folder / exports.RECORD).read_text())
    (folder / exports.RECORD).write_text(json.dumps(change(record)))


def in_place_of(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Removes an export, and puts something else in its place."""

    def harm(folder: Path) -> None:
        shutil.rmtree(folder)
        make(folder)

    return harm


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (in_place_of(lambda path: path.write_bytes(b"a file")), "is no file of an export"),
        (in_place_of(lambda path: path.mkdir()), "export.json is missing"),
        (in_place_of(lambda path: path.symlink_to("nowhere")), "export.json is missing"),
        (
            lambda folder: (folder / exports.VALUES).unlink() or (folder / exports.VALUES).mkdir(),
            "no file of an export",
        ),
        (lambda folder: with_record(folder, lambda record: [record]), "can't be read"),
        (lambda folder: with_record(folder, lambda record: record | {"files": None}), "can't be read"),
        (lambda folder: with_record(folder, lambda record: record | {"model": {"name": "x"}}), "can't be read"),
        (
            lambda folder: with_record(
                folder, lambda record: record | {"model": resolve_model("efficientnet-b0").to_json()}
            ),
            "it was made of efficientnet-b0@",
        ),
    ],
    ids=["file", "empty", "link", "folder in it", "list", "no sums", "no model", "another model"],
)
def test_what_is_no_export_of_the_model_is_made_anew(
    harm: Callable[[Path], object], said: str, cache: Path, made: list[ModelSpec], caplog: pytest.LogCaptureFixture
) -> None:
    folder = exports.directory_of(SPEC, cache)
    harm(folder)
    assert exports.find_or_make(SPEC, None, cache) == folder / exports.MODEL
    assert made == [SPEC]
    assert said in caplog.text
    assert exports.trouble(SPEC, cache) == ""


def test_what_a_killed_process_left_half_written_is_removed(
    cache: Path, made: list[ModelSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exports.directory_of(SPEC, cache)
    half = folder.parent / f".{folder.name}-k1ll3d" / "export"
    half.mkdir(parents=True)
    (half / exports.MODEL).write_bytes((folder / exports.MODEL).read_bytes()[:1000])
    another = folder.parent / ".another-model-abc"
    another.mkdir()
    exports.find_or_make(SPEC, None, cache)
    assert half.exists()  # An export that is there is not looked behind.
    shutil.rmtree(folder)
    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError("no locks here")))
        exports.find_or_make(SPEC, None, cache)
    assert half.exists()  # Without locks it may be somebody's who is at it.
    shutil.rmtree(folder)
    exports.find_or_make(SPEC, None, cache)
    assert len(made) == 2
    assert sorted(path.name for path in folder.parent.glob(".*")) == [another.name]


class Wrong(OpenVinoBackbone):
    """Comes out otherwise than Keras in one value of each image."""

    def forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = super().forward(batch)
        found[:, 0] += 0.02 * abs(found).max()
        return found


@pytest.mark.usefixtures("here")
def test_an_export_that_disagrees_with_keras_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tiny_file(tmp_path)
    monkeypatch.setattr(export_process, "OpenVinoBackbone", Wrong)
    spec, caches = resolve_model(str(path)), tmp_path / "cache"
    with pytest.raises(EngineError, match=r"other features for the model custom than Keras \(cosine 0\.99.*0\.99999"):
        load_embedder(spec, tmp_path, engine="openvino", cache_dir=caches)
    assert [found.suffix for found in (caches / "exports").iterdir()] == [".lock"]
    monkeypatch.setattr("workers.models.engines.has_gpu", lambda: False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    caplog.set_level(logging.INFO, "lookalike.worker")
    serving = load_embedder(spec, tmp_path, engine="auto", cache_dir=caches)
    assert "Keras runs the model: OpenVINO gives other features for the model custom" in caplog.text
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    by_keras = load_embedder(spec, tmp_path, engine="keras")
    np.testing.assert_array_equal(serving.embed(images), by_keras.embed(images))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("engine", ["auto", "openvino", "keras"])
def test_code_in_a_keras_file_is_run_by_no_engine(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras import layers

    monkeypatch.setattr("workers.models.engines.has_gpu", lambda: False)
    path = tiny_file(tmp_path, layers.Lambda(lambda x: x * 2))
    with pytest.raises(ModelError, match=r"mine\.keras can't be loaded.*code in a file is never run") as caught:
        load_embedder(resolve_model(str(path)), tmp_path, engine=engine, cache_dir=tmp_path / "cache")
    assert not isinstance(caught.value, EngineError)


def tiny_file(folder: Path, *tail: Any) -> Path:
    """A small model in folder/mine.keras."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    inputs = layers.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 255)(inputs)))
    for layer in tail:
        x = layer(x)
    keras.Model(inputs, layers.Dense(6)(x)).save(folder / "mine.keras")
    return folder / "mine.keras"


def test_many_who_ask_at_once_get_one_that_was_made_once(tmp_path: Path, made: list[ModelSpec]) -> None:
    start = threading.Barrier(8)

    def ask() -> Path:
        start.wait()
        return exports.find_or_make(SPEC, None, tmp_path)

    with ThreadPoolExecutor(8) as pool:
        found = {asked.result() for asked in [pool.submit(ask) for _ in range(8)]}
    assert found == {exports.directory_of(SPEC, tmp_path) / exports.MODEL}
    assert len(made) == 1


def test_without_locks_who_comes_second_takes_what_is_there(
    tmp_path: Path, made: list[ModelSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    speaking = stage.speaking

    def slow(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(stage, "speaking", speaking)
        exports.find_or_make(SPEC, None, tmp_path)  # Another process, meanwhile.
        return speaking(*arguments, **options)

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr(stage, "speaking", slow)
    exports.find_or_make(SPEC, None, tmp_path)
    assert exports.trouble(SPEC, tmp_path) == ""
    assert len(made) == 2
    assert [path.name for path in tmp_path.rglob(".*")] == []


def test_a_cache_that_can_not_be_written_names_the_setting(tmp_path: Path, made: list[ModelSpec]) -> None:
    (tmp_path / "exports").write_text("a file where the directory should be")
    with pytest.raises(EngineError, match="LOOKALIKE_CACHE_DIR"):
        exports.find_or_make(SPEC, None, tmp_path)


def exporting_process(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    real = subprocess.Popen

    def start(command: list[str], **options: Any) -> Any:
        assert command[: len(module_command("workers.models.export_process"))] == module_command(
            "workers.models.export_process"
        )
        return real([sys.executable, "-c", program, command[-1]], **options)

    monkeypatch.setattr(subprocess, "Popen", start)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", r"ended with signal SIGKILL.*It said nothing"),
        ("import os; os.write(1, b'{\"made_with\": {'); os.kill(os.getpid(), 9)", r"ended with signal SIGKILL"),
        ("import sys; sys.exit('first\\nno memory')", r"(?s)ended with exit status 1\..*no memory"),
    ],
)
def test_a_process_that_dies_is_an_error_that_says_how(
    program: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporting_process(monkeypatch, program)
    with pytest.raises(EngineError, match=said):
        exports.find_or_make(SPEC, None, tmp_path)
    assert [path.suffix for path in (tmp_path / "exports").iterdir()] == [".lock"]


def test_the_exporting_process_ends_with_who_asked(tmp_path: Path) -> None:
    spec = replace(SPEC, name="efficientnet-b0", weights="imagenet", weights_sha256=None)
    request = {"spec": spec.to_json(), "weights": None, "directory": str(tmp_path)}
    # In place of a model whose download hangs.
    program = """
import sys, threading, types
sys.modules["workers.models.keras_backbone"] = keras = types.ModuleType("workers.models.keras_backbone")
import workers.models; workers.models.keras_backbone = keras
def build_model(*_):
    sys.stderr.write("building\\n"); sys.stderr.flush()
    threading.Event().wait()
keras.build_model = build_model
from workers.models.export_process import main
main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(request)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stderr.readline() == b"building\n"
        process.stdin.close()
        assert process.wait(30) == 1


@pytest.mark.parametrize("error", [EngineError, ModelError])
def test_an_error_of_the_exporting_process_is_raised_by_who_asked(
    error: type[EngineError | ModelError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"""
import sys, types
sys.modules["workers.models.keras_backbone"] = keras = types.ModuleType("workers.models.keras_backbone")
import workers.models; workers.models.keras_backbone = keras
from shared.errors import {error.__name__}
def build_model(*_):
    raise {error.__name__}("No such layer: take another model.")
keras.build_model = build_model
from workers.models.export_process import main
main()
"""
    exporting_process(monkeypatch, program)
    with pytest.raises(error, match="No such layer: take another model") as caught:
        exports.find_or_make(SPEC, None, tmp_path)
    assert type(caught.value) is error


@pytest.mark.usefixtures("here")
def test_what_keras_can_not_build_is_its_own_error(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    path.write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"other\.h5 does not hold the weights of efficientnet-b0") as caught:
        load_embedder(resolve_model("efficientnet-b0", path), tmp_path, engine="openvino", cache_dir=tmp_path)
    assert not isinstance(caught.value, EngineError)


def test_other_features_than_those_of_keras_are_refused() -> None:
    good = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    assert export_process._compared("m", good, good * 3)["checked"]["least_cosine"] == pytest.approx(1)
    off, wild = good.copy(), good.copy()
    off[3, 5] += 0.05
    wild[2] = 0
    for bad in (off, wild, good * np.float32("nan")):
        with pytest.raises(EngineError, match="other features for the model m than Keras"):
            export_process._compared("m", good, bad)
    with pytest.raises(EngineError, match=r"gives \[8, 15\] for the model m, and Keras \[8, 16\]"):
        export_process._compared("m", good, good[:, :15])


@pytest.mark.usefixtures("here")
def test_the_outputs_that_swish_leaks_are_pruned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every swish of an EfficientNet turns up as an output of its own, at the cost of gigabytes."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    inputs = layers.Input((32, 32, 3))
    x = inputs / 255
    for filters in (4, 8):
        x = layers.Conv2D(filters, 3, 2, activation="swish")(x)
    x = layers.Dense(6, activation="swish")(layers.GlobalAveragePooling2D()(x))
    path = tmp_path / "mine.keras"
    keras.Model(inputs, layers.Dense(5)(x)).save(path)
    caplog.set_level(logging.INFO, "lookalike.worker")
    found = load_embedder(resolve_model(str(path)), tmp_path, engine="openvino", cache_dir=tmp_path / "cache")
    assert (found.dim, found.image_size) == (5, 32)
    (export,) = (tmp_path / "cache").rglob(exports.MODEL)
    assert len(openvino.Core().read_model(export).outputs) == 1
    images = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    by_keras = load_embedder(resolve_model(str(path)), tmp_path, engine="keras")
    np.testing.assert_allclose(found.embed(images), by_keras.embed(images), atol=1e-5)
    checked = json.loads((export.parent / exports.RECORD).read_text())["checked"]
    assert checked["least_cosine"] > 0.99999
    assert "run" in caplog.text


def test_a_model_file_that_openvino_can_not_read_is_an_engine_error(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("<net/>")
    with pytest.raises(EngineError, match=r"OpenVINO can't run .*model\.xml \("):
        OpenVinoBackbone(tmp_path / "model.xml", 224, None, "f32")


def test_signals_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    exporting_process(monkeypatch, f"import os; os.kill(os.getpid(), {int(signal.SIGTERM)})")
    with pytest.raises(EngineError, match="SIGTERM"):
        exports.find_or_make(SPEC, None, tmp_path)


def test_one_export_serves_all_fused_jobs_of_a_model_and_none_that_are_plain(tmp_path: Path) -> None:
    fusion = Fusion(("block5_expand", "head"), 3, "ab" * 32)
    asked = (None, fusion, replace(fusion, projection_sha256="cd" * 32), fusion.unprojected, replace(fusion, power=1))
    plain, first, second, raw, other = (exports.directory_of(replace(SPEC, fusion=one), tmp_path) for one in asked)
    assert first == second == raw
    assert len({plain, first, other}) == 3
