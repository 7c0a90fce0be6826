"""Ask for altered photographs, there and absent, by every method, and for pairs that are hard to tell apart.

python -m benchmarks.truth --photos DIR [--name TEXT] [--originals 150] [--alterations NAME ...] [--model M] [--small]
python -m benchmarks.truth --photos DIR --descriptor --model FILE.onnx [--model-input WORDS] [--model-name TEXT]
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.support import program
from benchmarks.truth import judge, tables
from benchmarks.truth.methods import peers
from benchmarks.truth.methods.asking import latencies
from benchmarks.truth.methods.cascade import Cascade, Features
from benchmarks.truth.methods.compared import Compared
from benchmarks.truth.methods.method import Method, Unavailable
from benchmarks.truth.methods.model import cosine
from benchmarks.truth.methods.product import Jobs, Product
from benchmarks.truth.methods.views import VIEWS
from benchmarks.truth.pairs import hardest
from benchmarks.truth.queries import collection
from benchmarks.truth.queries.alterations import KINDS, Kind
from benchmarks.truth.queries.collection import Collection, Query
from shared.models import DEFAULT_MODEL, resolve_model
from shared.settings import Settings
from workers.models.embedder import Embedder, load_embedder

RESULTS: Final = program.RESULTS / "truth.json"
RESULTS_OF_DESCRIPTOR: Final = program.RESULTS / f"{tables.DESCRIPTOR}.json"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: photographs that are altered, and that stand beside them; candidates that are verified;
    pairs that are nearest by the model, and by what is around things; queries that are timed; originals whose queries
    the product answers through its broker, 0 for none."""

    originals: int = 150
    others: int = 60
    candidates: int = 100
    pairs: int = 20_000
    surroundings: int = 5_000
    timed: int = 60
    product: int = 5


SMALL: Final = Sizes(originals=4, others=4, candidates=5, pairs=20, surroundings=10, timed=2, product=0)
SMALL_KINDS: Final = ("jpeg quality 20", "collage")
SMALL_PHOTOS: Final = 24
_ASKED: Final = (("auto", 1), ("always", VIEWS))


def main() -> int:
    arguments = _arguments()
    return program.run(lambda: _run(arguments))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.truth", description="Measure how true answers are, on altered photographs."
    )
    parser.add_argument("--photos", required=True, help="folder of photographs; its path is not written down")
    parser.add_argument("--name", default="photographs of one's own", help="what the photographs are, in the results")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="the job's model: a name, or a model's file")
    parser.add_argument(
        "--descriptor", action="store_true", help="the model is a copy descriptor: without peers, by targets of its own"
    )
    parser.add_argument("--model-input", help="how an .onnx file takes images")
    parser.add_argument("--model-name", help="what the model is, in the results; left out: its fingerprint alone")
    for field in fields(Sizes):
        parser.add_argument(f"--{field.name}", type=int, help=f"left out: {field.default}")
    parser.add_argument("--alterations", nargs="+", choices=[kind.name for kind in KINDS], metavar="NAME", help="some")
    parser.add_argument("--small", action="store_true", help="a few photographs and two alterations, to try it")
    program.add_work(parser)
    program.add_out(parser, None, each_step=True)
    arguments = parser.parse_args()
    arguments.out = arguments.out or (RESULTS_OF_DESCRIPTOR if arguments.descriptor else RESULTS)
    return arguments


def _run(arguments: argparse.Namespace) -> None:
    given = {field.name: getattr(arguments, field.name) for field in fields(Sizes)}
    sizes = replace(SMALL if arguments.small else Sizes(), **{name: n for name, n in given.items() if n is not None})
    spec = resolve_model(arguments.model, model_input=arguments.model_input)
    settings = Settings()
    embedder = load_embedder(spec, Path(arguments.model).parent, engine=settings.engine, cache_dir=settings.cache_dir)
    benchmark, packages = (tables.DESCRIPTOR, ()) if arguments.descriptor else ("truth", peers.PACKAGES)
    results = program.head(benchmark, _command(arguments, sizes), "openvino", *packages)
    told = f"{arguments.model_name} ({embedder.fingerprint})" if arguments.model_name else embedder.fingerprint
    results |= {"photographs": arguments.name, "model": told}
    started = time.perf_counter()

    def written() -> None:
        results["wall_seconds"] = round(time.perf_counter() - started)
        program.write(arguments.out.resolve(), results)

    most = SMALL_PHOTOS if arguments.small else None
    chosen = arguments.alterations or (SMALL_KINDS if arguments.small else [kind.name for kind in KINDS])
    kinds = tuple(kind for kind in KINDS if kind.name in chosen)
    photos = collection.draw(Path(arguments.photos), sizes.originals, sizes.others, most=most)
    queries = measure(photos, sizes, kinds, embedder, spec.decode, results, written)
    if sizes.product:
        measure_product(photos, queries, sizes, arguments, results, written)
    program.show(tables.all_tables(results), docs=arguments.docs)


def _command(arguments: argparse.Namespace, sizes: Sizes) -> str:
    parts = ["python -m benchmarks.truth --photos PHOTOS", f'--name "{arguments.name}"']
    parts += [f"--model {arguments.model}"] if arguments.model == DEFAULT_MODEL else ["--model MODEL"]
    parts += ["--descriptor"] if arguments.descriptor else []
    parts += [f'--model-input "{arguments.model_input}"'] if arguments.model_input else []
    parts += [f'--model-name "{arguments.model_name}"'] if arguments.model_name else []
    parts += ["--small"] if arguments.small else []
    parts += [f'--alterations "{name}"' for name in (arguments.alterations or [])[:1]]
    parts += [f'"{name}"' for name in (arguments.alterations or [])[1:]]
    return " ".join([*parts, *(f"--{name} {count}" for name, count in asdict(sizes).items())])


def measure(
    photos: Collection,
    sizes: Sizes,
    kinds: tuple[Kind, ...],
    embedder: Embedder,
    how: str,
    results: dict[str, Any],
    written: Callable[[], None],
) -> list[Query]:
    """Fill `results` with the figures of every method but the product, and call `written` after each; all queries.

    `how` says how images are decoded for `embedder`. Of a copy descriptor, as `results` say, what has no model in it is
    left out: the peers, and the pairs that are asked for the same pixels.
    """
    of_descriptor = results.get("benchmark") == tables.DESCRIPTOR
    program.log(f"{len(photos.photos):,} photographs; {len(photos.twins)} left out, which others show too")
    results |= {"sizes": asdict(sizes), "searched": len(photos.photos)}
    results["twins"] = [twins.to_json() for twins in photos.twins]
    results["alterations"] = {kind.name: kind.sentence for kind in kinds}
    results |= {"methods": {}, "not_measured": [], "pairs": {}, "pixels": {}}
    queries = collection.queries(photos, kinds)
    one, features = cosine(embedder, 1, how), Features()
    beside = () if of_descriptor else _PEERS
    for make in _makers(one, lambda: cosine(embedder, VIEWS, how).like(one), features, sizes.candidates, beside):
        try:
            method = make()
        except Unavailable as missing:
            results["not_measured"].append(str(missing))
            program.log(str(missing))
            continue
        results["methods"][method.name] = _measured(method, photos, queries, queries, sizes.timed)
        written()
    for name, pairs, alike in hardest.pairs_of(photos, one.vectors, sizes.pairs, sizes.surroundings):
        results["pairs"][name] = hardest.judged(photos, features, pairs, alike)
        written()
    same = {kind.name for kind in kinds if kind.same_pixels}
    for name, asked, half in () if of_descriptor else hardest.askers(photos, queries, same):
        program.log(f"same pixels: {name}")
        results["pixels"][name] = hardest.same_pixels_among(photos, features, asked, half=half)
        written()
    return queries


def measure_product(
    photos: Collection,
    queries: list[Query],
    sizes: Sizes,
    arguments: argparse.Namespace,
    results: dict[str, Any],
    written: Callable[[], None],
) -> None:
    """Put the figures of real searches into `results`: of the queries of the first originals, as each takes long."""
    first = set(photos.originals[: sizes.product])
    some = [query for query in queries if query.original in first]
    # The worker remembers what it was asked: others are timed.
    others = [query for query in queries if query.original not in first]
    for stores in (False, True):
        with (
            tempfile.TemporaryDirectory(prefix="lookalike-truth-", dir=arguments.work) as folder,
            Jobs(Path(folder).resolve(), photos.originals, _model(arguments), stores=stores) as jobs,
        ):
            for verify, views in _ASKED:
                method = Product(jobs, verify, views)
                results["methods"][method.name] = _measured(method, photos, some, others or some, sizes.timed)
                written()


def _model(arguments: argparse.Namespace) -> list[str]:
    """The options of `lookalike index` that name the model."""
    named = ["--model", arguments.model]
    return named + (["--model-input", arguments.model_input] if arguments.model_input else [])


_PEERS: Final[tuple[Callable[[], Method], ...]] = (
    lambda: peers.pdq(turns=False),
    lambda: peers.pdq(turns=True),
    peers.phash,
    peers.imagededup_cnn,
)


def _makers(
    one: Compared,
    six: Callable[[], Compared],
    features: Features,
    candidates: int,
    beside: Sequence[Callable[[], Method]],
) -> list[Callable[[], Method]]:
    """What makes each method, in the order of the tables; those behind share what those before have stored."""
    views: list[Compared] = []

    def with_views() -> Compared:
        views.append(six())
        return views[0]

    return [
        lambda: one,
        with_views,
        *beside,
        lambda: Cascade(one, features, candidates),
        lambda: Cascade(views[0], features, candidates),
    ]


def _measured(
    method: Method, photos: Collection, queries: list[Query], to_time: list[Query], timed: int
) -> dict[str, Any]:
    """The figures of a method: what it says of `queries`, and how long `timed` of the queries `to_time` take."""
    program.log(method.name)
    began = time.perf_counter()
    names = [photo.name for photo in photos.photos]
    found: dict[str, Any] = {"about": method.about, "stored": method.store(photos.photos).to_json(), "rules": []}
    for rule in method.judge(queries):
        shares = judge.figures(queries, rule.outcomes)
        program.log(f"{method.name}: R@1 {shares['r_at_1']}, recognised {shares['recognised']} ({rule.says})")
        said = {"verdicts": judge.verdicts(queries, rule.outcomes), "wrong": judge.wrong(queries, rule.outcomes, names)}
        found["rules"].append({"says": rule.says} | shares | said)
    found["ms"] = latencies(method, to_time, timed)
    return found | {"seconds": round(time.perf_counter() - began, 1)}
