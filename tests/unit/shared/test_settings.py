from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SettingsError
from shared.settings import BROKER_VARIABLES, PREFIX, Settings, broker_origin, load_settings, without_settings


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_without_file_and_environment_the_defaults_hold(tmp_path: Path) -> None:
    assert load_settings({}, tmp_path) == Settings()


def test_the_environment_beats_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    write(tmp_path / "lookalike.toml", 'partition_size = 7\nchunk_size = 3\nmodel = "efficientnet-b0"\nopen_jobs = 9\n')
    loaded = load_settings({"LOOKALIKE_CHUNK_SIZE": "5"}, tmp_path)
    assert (loaded.partition_size, loaded.chunk_size, loaded.model, loaded.open_jobs) == (7, 5, "efficientnet-b0", 9)
    assert loaded.changed(chunk_size=6, partition_size=None).chunk_size == 6
    assert loaded.changed(chunk_size=6, partition_size=None).partition_size == 7


def test_the_working_directory_is_where_the_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "lookalike.toml", "partition_size = 7")
    monkeypatch.chdir(tmp_path)
    assert load_settings({}).partition_size == 7


def test_a_named_file_stands_for_the_one_in_the_directory(tmp_path: Path) -> None:
    write(tmp_path / "lookalike.toml", "partition_size = 7")
    other = write(tmp_path / "other.toml", "partition_size = 8")
    assert load_settings({"LOOKALIKE_CONFIG": str(other)}, tmp_path).partition_size == 8


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"LOOKALIKE_CONFIG names .*gone\.toml, which does not exist"):
        load_settings({"LOOKALIKE_CONFIG": str(tmp_path / "gone.toml")}, tmp_path)


@pytest.mark.parametrize("text", [b"= nonsense", b"model = '\xff'", b"a"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "lookalike.toml").write_bytes(text)
    with pytest.raises(SettingsError, match=r"lookalike\.toml can't be read as TOML"):
        load_settings({}, tmp_path)


def test_an_unknown_key_of_the_file_is_an_error_that_names_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path / "lookalike.toml", "partitionsize = 7")
    with pytest.raises(SettingsError) as refused:
        load_settings({}, tmp_path)
    assert "'partitionsize'" in str(refused.value)
    for key in fields(Settings):
        assert key.name in str(refused.value)


def test_an_unknown_variable_of_the_environment_is_an_error_that_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({"LOOKALIKE_PARTITIONSIZE": "7"}, tmp_path)
    assert "LOOKALIKE_PARTITIONSIZE" in str(refused.value)
    for key in fields(Settings):
        assert PREFIX + key.name.upper() in str(refused.value)


def test_what_others_put_into_the_environment_is_not_ours(tmp_path: Path) -> None:
    assert load_settings({"PATH": "/bin", "lookalike_chunk_size": "5", "CHUNK_SIZE": "5"}, tmp_path) == Settings()


def test_an_empty_variable_means_not_set(tmp_path: Path) -> None:
    empty = {"LOOKALIKE_BROKER_URL": "", "LOOKALIKE_CHUNK_SIZE": "", "LOOKALIKE_CONFIG": "", "CELERY_BROKER_URL": ""}
    assert load_settings(empty, tmp_path) == Settings()


@pytest.mark.parametrize("first", range(len(BROKER_VARIABLES)))
def test_the_broker_is_ours_then_celerys_then_redis(tmp_path: Path, first: int) -> None:
    assert BROKER_VARIABLES == ("LOOKALIKE_BROKER_URL", "CELERY_BROKER_URL", "REDIS_URL")
    write(tmp_path / "lookalike.toml", 'broker_url = "redis://file"')
    environ = {variable: f"redis://{variable}" for variable in reversed(BROKER_VARIABLES[first:])}
    assert load_settings(environ, tmp_path).broker_url == f"redis://{BROKER_VARIABLES[first]}"
    assert load_settings({}, tmp_path).broker_url == "redis://file"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("CHUNK_SIZE", "1.5", "a whole number"),
        ("CHUNK_SIZE", "many", "a whole number"),
        ("CHUNK_SIZE", "true", "a whole number"),
        ("LEASE_SECONDS", "soon", "a number"),
    ],
)
def test_a_value_of_another_kind_is_refused(tmp_path: Path, variable: str, value: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=rf"LOOKALIKE_{variable}.*'{value}'; expected {expected}"):
        load_settings({f"LOOKALIKE_{variable}": value}, tmp_path)


@pytest.mark.parametrize(
    "line",
    ["chunk_size = true", "chunk_size = 1.0", "model = 5", "jobs_root = 5", 'jobs_root = ""', "model = ['a']",
     "recall_target = true", "chunk_size = {a = 1}", 'lease_seconds = "x"'],
)  # fmt: skip
def test_a_value_of_another_kind_in_the_file_is_refused(tmp_path: Path, line: str) -> None:
    write(tmp_path / "lookalike.toml", line)
    with pytest.raises(SettingsError, match=rf"lookalike\.toml sets {line.split()[0]} to .*; expected"):
        load_settings({}, tmp_path)


def test_values_are_read_as_people_write_them(tmp_path: Path) -> None:
    write(tmp_path / "lookalike.toml", "lease_seconds = 15\npartition_size = 50_000\n")
    environ = {"LOOKALIKE_MAX_QUERIES": "2_000", "LOOKALIKE_RECALL_TARGET": ".5", "LOOKALIKE_JOBS_ROOT": "~nobody-x/a"}
    loaded = load_settings(environ, tmp_path)
    assert (loaded.lease_seconds, loaded.partition_size, loaded.max_queries) == (15.0, 50_000, 2_000)
    assert isinstance(loaded.lease_seconds, float)
    assert (loaded.recall_target, loaded.jobs_root) == (0.5, Path("~nobody-x/a"))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"partition_size": 0}, "partition_size is 0; it must be at least 1"),
        ({"partition_size": -5}, "partition_size is -5; it must be at least 1"),
        ({"chunk_size": 0}, "chunk_size is 0; it must be at least 1"),
        ({"chunk_size": 100_001}, "chunk_size is 100001; it must be at most 100,000"),
        ({"recall_target": 1.5}, "recall_target is 1.5; it must be at most 1"),
        ({"recall_target": float("nan")}, "recall_target is nan"),
        ({"lease_seconds": float("nan")}, "lease_seconds is nan"),
        ({"query_cache_size": -1}, "query_cache_size is -1; it must be at least 0"),
        ({"flower_port": 70_000}, "flower_port is 70000; it must be at most 65,535"),
        ({"lease_seconds": 45.0, "visibility_timeout": 45}, r"lease_seconds \(45\) must be below visibility_timeout"),
    ],
)
def test_a_value_out_of_range_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        Settings(**values)


def test_the_edges_of_the_ranges_are_fine() -> None:
    edges = Settings(partition_size=1, chunk_size=1, recall_target=1.0, query_cache_size=0, flower_port=65_535)
    assert edges.changed(recall_target=0.0).recall_target == 0.0


def test_a_change_is_checked_like_any_value() -> None:
    with pytest.raises(SettingsError, match="chunk_size is 0"):
        Settings().changed(chunk_size=0)


def test_every_setting_says_what_it_is() -> None:
    for key in fields(Settings):
        assert len(key.metadata["what"]) > 20, key.name


texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@given(
    st.builds(
        Settings,
        broker_url=st.none() | texts,
        jobs_root=st.none() | texts.map(lambda text: Path("/", text)),
        model=st.none() | texts,
        chunk_size=st.none() | st.integers(1, 100_000),
        partition_size=st.integers(1, 10**12),
        lease_seconds=st.floats(1, 44.9),
        recall_target=st.floats(0, 1),
        query_cache_size=st.integers(0, 10**6),
    )
)
def test_settings_survive_the_environment(settings: Settings) -> None:
    assert load_settings(settings.to_environment(), Path("/no-such-directory")) == settings


def test_a_child_finds_relative_paths_wherever_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = Settings(jobs_root=Path("jobs")).to_environment()
    assert environment["LOOKALIKE_JOBS_ROOT"] == str(tmp_path / "jobs")
    assert "LOOKALIKE_MODEL" not in environment


def test_a_childs_environment_starts_without_ours() -> None:
    ours = {"LOOKALIKE_CHUNK_SIZE": "5", "LOOKALIKE_CONFIG": "x", "CELERY_BROKER_URL": "x", "REDIS_URL": "x"}
    assert without_settings(ours | {"PATH": "/bin", "LK_PARENT_PIPE": "3"}) == {"PATH": "/bin", "LK_PARENT_PIPE": "3"}


@pytest.mark.parametrize("environ", [{}, *({name: "redis://h/1", "OTHER_URL": "x"} for name in BROKER_VARIABLES)])
def test_what_names_the_broker_is_what_the_broker_is_taken_from(environ: dict[str, str], tmp_path: Path) -> None:
    assert broker_origin({}, tmp_path) is None
    file = write(tmp_path / "lookalike.toml", 'broker_url = "redis://of-the-file/0"')
    named = next(iter(environ), str(file))
    assert broker_origin(environ, tmp_path) == named
    assert load_settings(environ, tmp_path).broker_url == ("redis://h/1" if environ else "redis://of-the-file/0")


def test_of_several_variables_the_one_that_is_believed_is_named(tmp_path: Path) -> None:
    environ = {"REDIS_URL": "redis://r/0", "CELERY_BROKER_URL": "redis://c/0", "LOOKALIKE_BROKER_URL": ""}
    assert load_settings(environ, tmp_path).broker_url == "redis://c/0"
    assert broker_origin(environ, tmp_path) == "CELERY_BROKER_URL"
