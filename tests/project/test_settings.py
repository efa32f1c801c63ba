from __future__ import annotations

from pathlib import Path

import pytest

from penstock.project.model import LoggingSettings, LogSettings, ServeSettings, StoreSettings
from penstock.project.read import read_project
from penstock.project.settings import Available
from tests.project.folders import CONNECTORS, GOOD, only, read, told, write


def test_defaults(tmp_path: Path) -> None:
    project = read(tmp_path, {"penstock.yaml": "name: sales\n"})
    assert not project.problems
    s = project.settings
    assert (s.name, s.timezone, s.environment, s.engine) == ("sales", "UTC", "default", "duckdb")
    assert s.state == tmp_path / ".penstock" / "default"
    assert s.store == StoreSettings()
    assert s.log == LogSettings()
    assert s.serve == ServeSettings()
    assert s.logging == LoggingSettings()


def test_everything_said(tmp_path: Path) -> None:
    text = """
        name: sales
        timezone: Europe/Berlin
        state: /var/lib/penstock/sales
        store: {url: "postgresql://user@host/db", schema: answers}
        log: {segments: s3://bucket/prefix}
        engine: duckdb
        serve: {host: 0.0.0.0, port: 9000}
        logging: {level: debug, format: json}
    """
    s = read(tmp_path, {"penstock.yaml": text}).settings
    assert s.timezone == "Europe/Berlin"
    assert s.state == Path("/var/lib/penstock/sales")
    assert s.store == StoreSettings("postgresql://user@host/db", "answers")
    assert s.store.own_schema == "penstock_answers"
    assert s.log == LogSettings("s3://bucket/prefix")
    assert s.serve == ServeSettings("0.0.0.0", 9000)
    assert s.logging == LoggingSettings("debug", "json")


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("embedded", StoreSettings()),
        ("postgres://h/d", StoreSettings("postgres://h/d")),
        ("{schema: x}", StoreSettings(None, "x")),
        ("{url: embedded, schema: x}", StoreSettings(None, "x")),
    ],
)
def test_forms_of_store(tmp_path: Path, store: str, expected: StoreSettings) -> None:
    project = read(tmp_path, {"penstock.yaml": f"name: sales\nstore: {store}\n"})
    assert not project.problems
    assert project.settings.store == expected


ENVIRONMENTS = """\
name: sales
state: here
store: {url: "postgresql://base/db", schema: answers}
serve: {host: 127.0.0.1, port: 8080}
environments:
  production:
    store: "${STORE_URL}"
    log: {kafka: {bootstrap: "${KAFKA}"}}
    engine: {spark: {master: "${SPARK}"}}
  test: {serve: {port: 1234}, timezone: Europe/Paris}
"""


def test_an_environment_replaces_some_keys_whole_and_lays_the_rest_over(tmp_path: Path) -> None:
    s = read(tmp_path, {"penstock.yaml": ENVIRONMENTS}, env="test").settings
    assert s.environment == "test"
    assert s.serve == ServeSettings("127.0.0.1", 1234)
    assert s.timezone == "Europe/Paris"
    assert s.store == StoreSettings("postgresql://base/db", "answers")
    available = Available(logs=("kafka",), engines=("spark",))
    environ = {"STORE_URL": "postgresql://p/d", "KAFKA": "k:9092", "SPARK": "spark://s"}
    write(tmp_path, {**GOOD, "penstock.yaml": ENVIRONMENTS})
    project = read_project(tmp_path, "production", CONNECTORS, environ, available)
    assert not project.problems
    assert project.settings.store == StoreSettings("postgresql://p/d", "public")
    assert project.settings.state == tmp_path / "here"


def test_an_environments_store_is_the_whole_store(tmp_path: Path) -> None:
    text = "name: a\nstore: {url: 'postgresql://base/db'}\nenvironments: {test: {store: {schema: x}}}\n"
    project = read(tmp_path, {"penstock.yaml": text}, env="test")
    assert project.settings.store == StoreSettings(None, "x")


def test_environments_that_are_not_chosen_are_not_resolved(tmp_path: Path) -> None:
    project = read(tmp_path, {"penstock.yaml": ENVIRONMENTS})
    assert not project.problems
    assert not project.warnings


def test_the_state_folder_of_an_environment(tmp_path: Path) -> None:
    text = "name: sales\nenvironments: {staging: }\n"
    project = read(tmp_path, {"penstock.yaml": text}, env="staging")
    assert not project.problems
    assert project.settings.state == tmp_path / ".penstock" / "staging"


def test_kafka_and_spark_are_refused_only_when_chosen(tmp_path: Path) -> None:
    environ = {"STORE_URL": "postgresql://p/d", "KAFKA": "k", "SPARK": "s"}
    project = read(tmp_path, {"penstock.yaml": ENVIRONMENTS}, env="production", environ=environ)
    hint = "for the embedded one, or choose another environment with --env"
    assert told(project.problems) == [
        f"penstock.yaml:8:11 PEN113 this installation has no log of the kind 'kafka' (leave `log` out {hint})",
        f"penstock.yaml:9:14 PEN113 this installation has no engine of the kind 'spark' (leave `engine` out {hint})",
    ]


def test_an_unknown_environment_is_an_error(tmp_path: Path) -> None:
    found = only(read(tmp_path, {"penstock.yaml": ENVIRONMENTS}, env="prodution"))
    assert found == "penstock.yaml:1:1 PEN112 there is no environment 'prodution' (did you mean 'production'?)"


def test_keys_of_other_environments_are_checked(tmp_path: Path) -> None:
    text = "name: sales\nenvironments:\n  a: {stor: x}\n  b: {serve: {port: abc, host: '${H}'}}\n  c: [x]\n"
    assert told(read(tmp_path, {"penstock.yaml": text}).problems) == [
        "penstock.yaml:3:7 PEN104 'stor' (did you mean 'store'?)",
        "penstock.yaml:4:21 PEN106 'abc' is not a whole number",
        "penstock.yaml:5:6 PEN106 a list is not keys and values",
    ]


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("", ["1:1 PEN106 nothing is not keys and values"]),
        ("[1]", ["1:1 PEN106 a list is not keys and values"]),
        ("timezone: UTC", ["1:1 PEN105 'name' is required (The project's name, e.g. sales)"]),
        ("name: 2026", ["1:7 PEN106 '2026' is not a text (put it into quotes)"]),
        ("name: a\ntimezon: UTC", ["2:1 PEN104 'timezon' (did you mean 'timezone'?)"]),
        (
            "name: a\ntimezone: Mars",
            ["2:11 PEN106 'Mars' should be the name of a time zone, e.g. UTC or Europe/Berlin"],
        ),
        ("name: a\nserve: {port: 99999}", ["2:15 PEN106 '99999' should be less than or equal to 65535"]),
        ("name: a\nserve: {prt: 1}", ["2:9 PEN104 'prt' (did you mean 'port'?)"]),
        ("name: a\nserve: 80", ["2:8 PEN106 '80' is not keys and values"]),
        ("name: a\nlogging: {level: loud}", ["2:18 PEN106 'loud' is not one of debug, info, warning, error"]),
        (
            "name: a\nstore: mysql://x",
            ["2:8 PEN106 'mysql://x' should be `embedded` or a URL that begins with postgre"],
        ),
        ("name: a\nstore: {url: x, shema: y}", ["2:14 PEN106 'x' should be `emb", "2:17 PEN104 'shema' (did you mean"]),
        ("name: a\nstore: {schema: A-b}", ["2:17 PEN106 'A-b' should match pattern"]),
        (
            "name: a\nstore: {schema: penstock}",
            ["2:17 PEN106 'penstock' is a schema of PostgreSQL's or Penstock's own"],
        ),
        ("name: a\nlog: postgres", ["2:6 PEN106 'postgres' is not one of embedded"]),
        ("name: a\nlog: {segmets: x}", ["2:7 PEN104 'segmets' (did you mean 'segments'?)"]),
        ("name: a\nengine: spark", ["2:9 PEN106 'spark' is not one of duckdb"]),
        ("name: a\nengine: {flink: x}", ["2:10 PEN104 'flink' (known: spark)"]),
        (
            "name: a\nstore: postgresql://u:hunter2@h/d",
            ["2:8 PEN109 a URL or connection string with a password stands"],
        ),
        ("name: a\nenvironments: {p: {store: 'postgresql://u:hunter2@h/d'}}", ["2:27 PEN109 a URL or connection"]),
        ("name: a: b", ["1:8 PEN102 mapping values are not allowed here"]),
    ],
)
def test_mistakes(tmp_path: Path, text: str, errors: list[str]) -> None:
    found = told(read(tmp_path, {"penstock.yaml": text}).problems)
    assert len(found) == len(errors), found
    for error, expected in zip(found, errors, strict=True):
        assert error.startswith(f"penstock.yaml:{expected}")
        assert "hunter2" not in error


def test_a_missing_file_is_not_a_project(tmp_path: Path) -> None:
    project = read(tmp_path, {"penstock.yaml": None})
    assert "PEN111 there is no penstock.yaml in " in only(project)
    assert project.settings.name == tmp_path.name
    (tmp_path / "penstock.yml").write_text("name: x")
    assert "rename penstock.yml to penstock.yaml" in only(read_project(tmp_path, None, CONNECTORS, {}))
