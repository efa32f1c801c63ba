"""Odd command lines: every one ends with an error that has a code, and changes nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.store.private import PrivateServer
from tests.faults.support import typed
from tests.projects import Folder, sales_folder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, postgres_server: PrivateServer) -> Iterator[Folder]:
    """A project that was run once."""
    folder = sales_folder(tmp_path_factory.mktemp("commands") / "a project", postgres_server.createdb("odd_commands"))
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Köln", "2,2026-03-01T10:00:00Z,10,[red]:smile:")
    folder.caught_up()
    yield folder
    assert folder.rows("SELECT count(*) FROM by_city") == [("2",)]


@pytest.mark.parametrize(
    ("args", "code", "found"),
    [
        (["nope"], "PEN902", "No such command 'nope'"),
        (["run", "--nope"], "PEN902", "No such option: --nope"),
        (["run", "more"], "PEN902", "unexpected extra argument"),
        (["run", "--for", "abc"], "PEN902", "'abc' is not a duration"),
        (["query"], "PEN902", "Missing argument"),
        (["query", "-- x"], "PEN902", "No such option"),
        (["query", "SELECT 1", "--format", "xml"], "PEN902", "there is no format 'xml'"),
        (["export", "salez"], "PEN902", "did you mean 'sales'?"),
        (["export", "sales", "--format", "x"], "PEN902", "there is no format 'x'"),
        (["explain", "by_ctiy"], "PEN902", "did you mean 'by_city'?"),
        (["generate", "--rows", "x"], "PEN902", "Invalid value for '--rows'"),
        (["generate", "--rows", "-1"], "PEN902", "greater than or equal to 1"),
        (["init", "new", "--template", "zzz"], "PEN902", "there is no template 'zzz'"),
        (["store", "nope"], "PEN902", "No such command 'nope'"),
    ],
)
def test_wrong_usage(folder: Folder, monkeypatch: pytest.MonkeyPatch, args: list[str], code: str, found: str) -> None:
    ended, out, err = typed(folder, monkeypatch, *args)
    assert ended == 2
    assert out == ""
    assert code in err
    assert found in err
    assert "hint: " in err


@pytest.mark.parametrize(
    ("args", "code", "found"),
    [
        (["--env", "nope", "status"], "PEN112", "there is no environment 'nope'"),
        (["--project", "penstock.yaml", "status"], "PEN901", "is not a folder"),
        (["--project", "/", "status"], "PEN901", "/ has no penstock.yaml"),
        (["stop"], "PEN911", "no penstock runs on project 'little'"),
        (["init", "/proc/new"], "PEN904", "/proc/new"),
        (["export", "sales", "--format", "csv", "--out", "/nowhere/x.csv"], "PEN904", "/nowhere/x.csv"),
        (["export", "sales", "--format", "csv", "--out", "/"], "PEN904", "/"),
    ],
)
def test_what_cannot_be_done(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, args: list[str], code: str, found: str
) -> None:
    ended, out, err = typed(folder, monkeypatch, *args)
    assert (ended, out) == (1, "")
    assert code in err
    assert found in err
    assert "hint: " in err


SEVERAL = "cannot insert multiple commands into a prepared statement"


@pytest.mark.parametrize("form", ["table", "csv", "json", "parquet"])
@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELEC 1", "syntax error at or near"),
        ("SELECT 1 FORM by_city", 'at or near "by_city", at character 15'),
        ("SELECT nope FROM by_city", 'column "nope" does not exist, at character 8'),
        ("SELECT * FROM nope", 'relation "nope" does not exist, at character 15'),
        ("", "syntax error"),
        (";", "syntax error"),
        ("SELECT 1; SELECT 2", ""),
        ("SELECT 1; COMMIT; SET default_transaction_read_only = off; DELETE FROM by_city; SELECT 1", ""),
        ("SELECT 1) q; COMMIT; DELETE FROM by_city; SELECT * FROM (SELECT 1", ""),
        ("INSERT INTO by_city VALUES (1)", "syntax error"),
        ("DELETE FROM by_city", "syntax error"),
        ("WITH gone AS (DELETE FROM by_city RETURNING *) SELECT * FROM gone", "WITH"),
        ("COPY by_city TO STDOUT", "syntax error"),
        ("COPY (SELECT 1) TO PROGRAM 'touch copied'", "syntax error"),
        ("SELECT 1/0", "division by zero"),
        ("SELECT chr(0)", "null character not permitted"),
        ("SELECT $1", "parameter"),
        ("SELECT %s", "syntax error"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "terminating connection"),
    ],
)
def test_sql_that_is_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch, sql: str, found: str, form: str) -> None:
    code, _, err = typed(folder, monkeypatch, "query", "--format", form, sql)
    assert code == 1
    assert ("PEN710" if "terminate" in sql else "PEN903") in err
    assert found in err
    assert "hint: " in err


def test_values_are_printed_as_they_are(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = "SELECT city FROM by_city WHERE city <> 'Köln'"
    for form in ("table", "csv", "json"):
        assert "[red]:smile:" in typed(folder, monkeypatch, "query", "--format", form, sql)[1]


@pytest.mark.parametrize(
    "args",
    [["query", "--format", "csv", "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"], ["status", "--json"]],
)
def test_a_reader_that_goes_away(folder: Folder, args: list[str]) -> None:
    """As `penstock query ... | head -1` does."""
    read, write = os.pipe()
    process = subprocess.Popen(folder.command(*args), stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    os.read(read, 1)
    os.close(read)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 1)
    assert err == ""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_closed_streams(folder: Folder, stream: str) -> None:
    shell = f'"$0" "$@" {">&-" if stream == "stdout" else "2>&-"}'
    command = ["sh", "-c", shell, *folder.command("query", "SELEC" if stream == "stderr" else "SELECT 1")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr + done.stdout


def test_a_verb_before_the_first_run_says_so(tmp_path: Path, fresh_database: str) -> None:
    fresh = sales_folder(tmp_path, fresh_database)
    refused = fresh.penstock("query", "SELECT 1", code=1).err
    assert "PEN723" in refused
    assert "penstock run" in refused
