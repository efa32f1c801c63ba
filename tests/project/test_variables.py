from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import PenstockError
from penstock.project.read import required
from penstock.project.variables import expand, holds_secret, is_secret_key
from penstock.sources.registry import sources
from tests.project.folders import CONNECTORS, SOURCE, LakeConfig, only, read, told

VALUES = {"A": "one", "EMPTY": "", "B": "two"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "one"),
        ("x${A}y${B}z", "xoneytwoz"),
        ("${EMPTY}", ""),
        ("${NONE:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${A:-d}", "one"),
        ("${NONE:-}", ""),
        ("${NONE:-${A}}", "one"),
        ("${NONE:-a}b}", "ab}"),
        ("${A:?why}", "one"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A $ {A} $", "$A $ {A} $"),
        ("${NONE:-$${x}}", "${x}"),
        ("", ""),
    ],
)
def test_references(text: str, value: str) -> None:
    assert expand(text, VALUES.get) == value


@pytest.mark.parametrize("text", ["${", "${}", "${1}", "${A", "${A-b}", "${NONE:-b", "${A B}", "${A:b}"])
def test_broken_references_are_errors(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a reference|is not closed"):
        expand(text, VALUES.get)
    found = only(read(tmp_path, {"sources/drops.yaml": f"{SOURCE}where: '{text}'\n"}))
    assert found.startswith("sources/drops.yaml:4:8 PEN108 ")
    assert "a literal ${ is written $${" in found


def test_values_are_filled_in_and_typed(tmp_path: Path) -> None:
    files = {"sources/drops.yaml": "type: lake\nstream: ${STREAM}\npath: ${ROOT:-drops}/x\npieces: ${N}\nlimit: ${L}\n"}
    project = read(tmp_path, files, environ={"STREAM": "sales", "N": "7", "L": "2KB"})
    assert not project.problems
    config = project.sources["drops"].config
    assert isinstance(config, LakeConfig)
    assert (config.path, config.pieces, config.limit) == ("drops/x", 7, 2000)


def test_what_a_variable_holds_is_never_read_as_yaml(tmp_path: Path) -> None:
    files = {"sources/drops.yaml": "type: lake\nstream: sales\npath: ${P}\n"}
    project = read(tmp_path, files, environ={"P": "a: [b\n# c"})
    assert project.sources["drops"].config.path == "a: [b\n# c"


def test_dotenv_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    dotenv = "# comment\nP=one\nexport Q = 'two # x' # y\nR=\"a\\nb\"\n\nS=three # rest\n"
    files = {".env": dotenv, "sources/drops.yaml": "type: lake\nstream: sales\npath: ${P}${Q}${R}${S}\n"}
    project = read(tmp_path, files, environ={"P": "real"})
    assert not project.problems
    assert project.sources["drops"].config.path == "realtwo # xa\nbthree"


def test_lines_of_dotenv_that_are_none_are_errors(tmp_path: Path) -> None:
    assert told(read(tmp_path, {".env": "A=1\nnonsense\nB='x\n"}).problems) == [
        ".env:2:1 PEN108 this line is not NAME=value (one NAME=value on a line)",
        ".env:3:1 PEN108 the quote of B is not closed (one NAME=value on a line)",
    ]


def test_a_missing_variable_is_a_warning_until_a_verb_needs_it(tmp_path: Path) -> None:
    files = {
        "penstock.yaml": "name: sales\nstore: ${STORE_URL}\n",
        "sources/drops.yaml": "type: lake\nstream: sales\npath: ${P:?where the files are}\npieces: ${N}\n",
    }
    project = read(tmp_path, files)
    assert not project.problems
    assert told(project.warnings) == [
        "penstock.yaml:2:8 PEN107 neither the environment nor .env has STORE_URL "
        "(set STORE_URL, put it into .env, or write ${STORE_URL:-default})",
        "sources/drops.yaml:3:7 PEN107 neither the environment nor .env has P: where the files are "
        "(set P, put it into .env, or write ${P:-default})",
        "sources/drops.yaml:4:9 PEN107 neither the environment nor .env has N "
        "(set N, put it into .env, or write ${N:-default})",
    ]
    assert [p.place.file for p in required(project, "store").problems if p.place] == ["penstock.yaml"]
    assert len(required(project, "sources").problems) == 2
    assert not required(project, "serve").problems
    everything = required(project)
    assert len(everything.problems) == 3
    assert not everything.warnings


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("connection: postgresql://shop:hunter2@host/db", "4:13"),
        ("connection: postgresql://shop:hunter2${X}@host/db", ""),
        ("connection: {host: h, password: hunter2}", "4:33"),
        ("connection: {host: h, password: 12345678}", "4:33"),
        ("connection: host=h password=hunter2", "4:13"),
        ("connection: postgresql://host/db?user=x&password=hunter2", "4:13"),
    ],
)
def test_a_literal_secret_is_an_error_that_does_not_repeat_it(tmp_path: Path, line: str, place: str) -> None:
    project = read(tmp_path, {"sources/drops.yaml": f"{SOURCE}{line}\n"}, environ={"X": "x"})
    found = told(project.problems)
    assert bool(found) == bool(place)
    if place:
        assert found[0].startswith(f"sources/drops.yaml:{place} PEN109 ")
        assert "stands in the file" in found[0]
    assert "hunter2" not in str(found)
    assert "12345678" not in str(found)


@pytest.mark.parametrize(
    "line",
    [
        "connection: postgresql://shop:${PW}@host/db",
        "connection: postgresql://shop@host/db",
        "connection: {host: h, password: '${PW}'}",
        "connection: ${URL:-postgresql://localhost/x}",
        "connection: {host: h, password: }",
    ],
)
def test_references_to_secrets_are_fine(tmp_path: Path, line: str) -> None:
    environ = {"PW": "hunter2", "URL": "postgresql://a:b@c/d"}
    assert not read(tmp_path, {"sources/drops.yaml": f"{SOURCE}{line}\n"}, environ=environ).problems


def test_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    line = f"connection: {{host: h, password: 'file:{tmp_path}/secret'}}\n"
    project = read(tmp_path / "p", {"sources/drops.yaml": SOURCE + line})
    assert project.sources["drops"].config.connection.password == "hunter2"
    assert "hunter2" not in str(project.problems)


def test_a_connection_as_a_whole_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://u:hunter2@h/d")
    (tmp_path / "store").write_text("postgresql://u:hunter2@h/store\n")
    files = {
        "penstock.yaml": f"name: a\nstore: file:{tmp_path}/store\n",
        "sources/drops.yaml": f"{SOURCE}connection: file:{tmp_path}/url\n",
    }
    project = read(tmp_path / "p", files)
    assert not project.problems
    assert project.sources["drops"].config.connection == "postgresql://u:hunter2@h/d"
    assert project.settings.store.url == "postgresql://u:hunter2@h/store"


def test_a_missing_secret_file_is_a_warning_until_needed(tmp_path: Path) -> None:
    line = "connection: {host: h, password: 'file:/nowhere/secret'}\n"
    project = read(tmp_path, {"sources/drops.yaml": SOURCE + line})
    assert not project.problems
    assert told(project.warnings) == [
        "sources/drops.yaml:4:33 PEN110 the secret's file /nowhere/secret cannot be read: No such file or directory "
        "(create the file, or give the user who runs Penstock the right to read it)"
    ]
    assert required(project, "sources").problems


def test_what_a_variable_holds_is_not_repeated_in_errors(tmp_path: Path) -> None:
    files = {"sources/drops.yaml": f"{SOURCE}wait: ${{W}}\npieces: ${{W}}\nformat: ${{W}}\ncolor: x${{W}}\n"}
    project = read(tmp_path, files, environ={"W": "hunter2"})
    assert told(project.problems) == [
        "sources/drops.yaml:4:7 PEN106 '${W}' should be a duration: a number and ms, s, m, h or d, e.g. 10s",
        "sources/drops.yaml:5:9 PEN106 '${W}' is not a whole number",
        "sources/drops.yaml:6:9 PEN106 '${W}' is not one of csv, json (known: csv, json)",
        "sources/drops.yaml:7:8 PEN106 'x${W}' is no color",
    ]


def test_nothing_of_a_secret_is_repeated(tmp_path: Path) -> None:
    files = {"sources/drops.yaml": f"{SOURCE}color: ${{W}}\n"}
    project = read(tmp_path, files, environ={"W": "postgresql://u:hunter2@h/d'"})
    assert only(project) == "sources/drops.yaml:4:8 PEN106 '${W}' holds a secret that is not valid here"


def test_declared_secrets_of_connectors_are_known_by_their_names() -> None:
    found = []
    for config in [c.Config for c in sources().values()] + list(CONNECTORS.values()):
        definitions = config.model_json_schema()
        for part in [definitions, *definitions.get("$defs", {}).values()]:
            found += [k for k, v in part.get("properties", {}).items() if v.get("secret")]
    assert found
    assert [k for k in found if not is_secret_key((k,))] == []


@pytest.mark.parametrize(
    "key", ["password", "db_password", "secret_access_key", "session_token", "Password", "api_key"]
)
def test_names_of_secrets(key: str) -> None:
    assert holds_secret(("s3", key), "abc")
    assert not holds_secret(("s3", key), "${ABC}")
    assert not holds_secret(("s3", key), "file:/run/secrets/abc")


@pytest.mark.parametrize("key", ["passwords_seen", "tokenizer", "access_key_id", "path"])
def test_names_that_are_no_secrets(key: str) -> None:
    assert not holds_secret((key,), "abc")


def test_errors_are_penstock_errors(tmp_path: Path) -> None:
    assert all(isinstance(e, PenstockError) for e in read(tmp_path, {".env": "x"}).problems)
