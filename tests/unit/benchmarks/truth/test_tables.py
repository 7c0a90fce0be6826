import pytest

from benchmarks.truth import tables
from tests.support.benchmark_tables import HEADER, lines


def rule(says: str, first: float, recognised: float, false: float, **more: object) -> dict[str, object]:
    shares = {"queries": 150, "r_at_1": first, "recognised": recognised, "false": 0, "false_per_1000": false}
    kinds = {"flip": shares | {"r_at_1": 1.0}, "meme": shares | {"r_at_1": first - 0.1, "recognised": 0.5}}
    return {"says": says, "by_alteration": kinds, "verdicts": {}, "wrong": []} | shares | more


COSINE = {
    "about": "", "stored": {"bytes_per_image": 2560.0, "cpu_ms": 10.0}, "ms": {"present": {"p50": 12.0, "p90": 15.0}},
    "rules": [rule("cosine 0.89, 1 in 1,000", 0.82, 0.23, 1.0), rule("cosine 0.9, published", 0.82, 0.2, 0.4)],
}  # fmt: skip
CASCADE = {
    "about": "", "stored": {"bytes_per_image": 6_460.0, "cpu_ms": 24.0},
    "ms": {"present": {"p50": 80.0, "p90": 95.0}, "absent": {"p50": 410.0, "p90": 500.0}},
    "rules": [
        rule("verified", 0.97, 0.96, 0.25, verdicts={"flip": {"same pixels": 0.98}, "meme": {"none": 1.0}}),
    ],
}  # fmt: skip
PAIRS = {"pairs": 20_000, "alike": [0.91, 0.99], "false": 3, "wrong": []}
PIXELS = {"pairs": 7_000_000, "compared": 12, "false": 0, "wrong": []}
RESULTS = HEADER | {
    "photographs": "clothes", "model": "lite0@1", "searched": 3_700, "twins": [{}, {}],
    "sizes": {"originals": 150, "others": 60}, "alterations": {"flip": "Mirrored.", "meme": "Framed."},
    "not_measured": ["imagededup can't be imported."],
    "methods": {"cosine": COSINE, "cosine, 6 views, verified": CASCADE},
    "pairs": {"nearest by the model": PAIRS}, "pixels": {"photographs with each other": PIXELS},
}  # fmt: skip


def test_each_figure_is_in_its_row() -> None:
    made = tables.all_tables(RESULTS)
    assert lines(made["truth-methods"]) == [
        ["cosine", "cosine 0.89, 1 in 1,000", "150", "0.820", "0.230", "1.00", "12.0 / 15.0", "", "2,560", "10.0"],
        ["cosine", "cosine 0.9, published", "150", "0.820", "0.200", "0.40", "12.0 / 15.0", "", "2,560", "10.0"],
        [
            "cosine, 6 views, verified", "verified", "150", "0.970", "0.960", "0.25", "80.0 / 95.0", "410.0 / 500.0",
            "6,460", "24.0",
        ],
    ]  # fmt: skip
    assert ["flip", "Mirrored.", "1.000", "1.000"] in lines(made["truth-first"])
    assert ["all", "", "0.820", "0.970"] in lines(made["truth-first"])
    assert ["meme", "0.500", "0.500"] in lines(made["truth-recognised"])
    assert lines(made["truth-pixels"]) == [["flip", "0.980"]]
    assert lines(made["truth-pairs"]) == [
        ["same picture or pixels", "nearest by the model", "20,000", "0.910 to 0.990", "3"],
        ["same pixels", "photographs with each other", "7,000,000", "", "0"],
    ]
    head = dict(lines(made["truth-run"]))
    assert head["searched"] == "3,700, of which 150 were altered"
    assert head["left out"] == "60 for collages and the like, 2 that others show too"
    assert head["not measured"] == "imagededup can't be imported."


def test_targets_are_those_of_the_method_that_verifies_and_finds_most() -> None:
    told = {row[0].partition(":")[0]: row[1:] for row in lines(tables.all_tables(RESULTS)["truth-targets"])}
    assert told["R@1, all alterations"] == ["cosine, 6 views, verified", "0.970", "met"]
    assert told["R@1, worst alteration"] == ["meme", "0.870", "met"]
    assert told["alterations with R@1 of 0.9 or more"][1:] == ["1", "missed"]
    assert told["recognised"][1:] == ["0.960", "met"]
    assert told["false in 1,000, original absent"][1:] == ["0.25", "met"]
    assert told["false among the hardest pairs"][1:] == ["3", "missed"]
    assert told["pairs asked for the same pixels"][1:] == ["7,000,000", "missed"]
    assert told["same pixels, flip"][1:] == ["0.980", "met"]
    assert told["bytes an image, beside its embedding"][1:] == ["3.9 kB", "met"]
    assert told["CPU of embedding"][1:] == ["2.40 x", "met"]
    assert told["query p50"][1:] == ["80.00 ms", "met"]


def test_a_copy_descriptor_has_tables_and_targets_of_its_own() -> None:
    ms = {"present": {"p50": 50.0, "p90": 60.0}, "absent": {"p50": 15.5, "p90": 20.0}}
    auto = CASCADE | {"ms": ms, "rules": [rule("its own", 0.5, 0.5, 0.0, verdicts={})]}
    methods = {"cosine": COSINE, "cosine, 6 views, verified": CASCADE, "lookalike, auto": auto}
    made = tables.all_tables(RESULTS | {"benchmark": "truth_descriptor", "pixels": {}, "methods": methods})
    assert not [name for name in made if not name.startswith("descriptor-")]
    told = {row[0]: row[1:] for row in lines(made["descriptor-targets"])}
    assert told["R@1, all alterations: at least 0.985"][1:] == ["0.970", "missed"]
    assert told["R@1, worst alteration: at least 0.9"][1:] == ["0.870", "missed"]
    assert told["recognised: at least 0.95"][1:] == ["0.960", "met"]
    assert told["CPU of embedding: at most 2.10 x"][1:] == ["2.40 x", "missed"]
    assert told["query p50: at most 100.00 ms"][1:] == ["80.00 ms", "met"]
    assert told["query p50, nothing near enough: at most 15.00 ms"] == ["lookalike, auto", "15.50 ms", "missed"]


@pytest.mark.parametrize("name", tables.all_tables({}))
def test_a_benchmark_that_was_not_run_says_so(name: str) -> None:
    assert tables.all_tables({})[name] == tables.NOT_MEASURED
