"""The command line as a user meets it: help, exit codes, formats, errors with codes and never a traceback."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from penstock.cli import app, common
from penstock.operate.core import explained
from penstock.operate.errors import UnexpectedFailure
from tests.projects import Folder, sales_folder

VERBS = (
    "init",
    "demo",
    "validate",
    "run",
    "serve",
    "status",
    "query",
    "explain",
    "generate",
    "export",
    "stop",
    "store",
)


def typed(*args: str, cwd: Path | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "penstock", *args], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    return done


def in_process(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *args: str) -> tuple[int, str, str]:
    """Runs a verb within this process: quick, for what needs no process of its own."""
    monkeypatch.setattr(sys, "argv", ["penstock", *args])
    monkeypatch.setattr(common.Globals, "current", common.Globals())
    with pytest.raises(SystemExit) as ended:
        app.main()
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.out, said.err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = in_process(capsys, monkeypatch, verb, "--help")
    assert code == 0
    assert len(out.split()) > 20
    if verb != "store":
        assert all(option in out for option in ("--project", "--env", "--json", "--quiet"))


def test_help_lists_exactly_the_verbs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, out, _ = in_process(capsys, monkeypatch, "--help")
    listed = out.split("Commands:")[1].split()
    assert [verb for verb in VERBS if verb not in listed] == []


def test_no_project(tmp_path: Path) -> None:
    assert "PEN901 no project here" in typed("validate", cwd=tmp_path, code=1).stderr
    assert "is not a folder" in typed("--project", str(tmp_path / "x"), "validate", code=1).stderr
    shown = json.loads(typed("validate", "--json", cwd=tmp_path, code=1).stdout)
    assert shown["errors"][0]["code"] == "PEN901"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("validate", "--nope"), "--nope"),
        (("nope",), "nope"),
        (("run", "--for", "soon"), "PEN902 wrong usage: 'soon' is not a duration"),
        (("explain", "by_cities"), "did you mean 'by_city'?"),
        (("export", "sale"), "did you mean 'sales'?"),
        (("query", "SELECT 1", "--format", "xml"), "there is no format 'xml'"),
        (("init", "x", "--template", "mini"), "did you mean 'minimal'?"),
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    folder = sales_folder(tmp_path / "p", "postgresql://127.0.0.1:1/none")
    done = folder.penstock(*args, code=2)
    assert said in done.err


def test_a_defect_is_told_with_a_file_and_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(options: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("penstock.cli.status.load", broken)
    code, _, err = in_process(capsys, monkeypatch, "--project", str(Path.cwd()), "status")
    assert code == 1
    assert "PEN999 unexpected failure: ZeroDivisionError: a defect" in err
    kept = Path(err.split("with the file ")[1].split(";")[0].replace("\n", ""))
    assert "Traceback" in kept.read_text()
    kept.unlink()


def test_a_thread_explains_a_defect() -> None:
    error = explained(KeyError("x"), "source a")
    assert isinstance(error, UnexpectedFailure)
    assert "PEN914 unexpected failure: source a: KeyError: 'x'" in str(error)
    Path(error.hint.split("with the file ")[1]).unlink()


@pytest.mark.slow
def test_query_in_every_format(tmp_path: Path, fresh_database: str) -> None:
    folder = sales_folder(tmp_path / "p", fresh_database)
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,12345678.90,Köln", '2,2026-03-01T10:00:00Z,1.00,"a ""b"", c"')
    folder.caught_up()
    sql = "SELECT date, city, total_sales, deals FROM by_city ORDER BY city"
    assert "12345678.90" in folder.penstock("query", sql).out
    assert folder.penstock("query", sql, "--format", "csv").out.splitlines()[2] == '2026-03-01,"a ""b"", c",1.00,1'
    assert '"total_sales":12345678.90' in folder.penstock("query", sql, "--format", "json").out
    assert folder.penstock("query", sql, "--json").json[1]["city"] == 'a "b", c'
    assert folder.penstock("query", "SELECT 1 AS a WHERE false", "--json").json == []
    done = subprocess.run(folder.command("query", sql, "--format", "parquet"), capture_output=True, check=True)
    table = pq.read_table(io.BytesIO(done.stdout))
    assert str(table.schema.field("total_sales").type) == "decimal128(15, 2)"
    assert table.num_rows == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "sql",
    ["SELEC 1", "SELECT * FROM nowhere", "DELETE FROM by_city", "SELECT 1; SELECT 2", "", "COPY by_city TO PROGRAM 'x'",
     "SELECT 1) TO x; DROP TABLE by_city; --", "UPDATE by_city SET deals = 0 RETURNING 1"],
)  # fmt: skip
def test_query_refuses_what_is_not_one_reading_statement(tmp_path: Path, fresh_database: str, sql: str) -> None:
    folder = sales_folder(tmp_path / "p", fresh_database)
    folder.caught_up()
    for form in ("table", "json"):
        assert "PEN903 the query was refused" in folder.penstock("query", sql, "--format", form, code=1).err


@pytest.mark.slow
def test_store_url_is_one_psql_understands(tmp_path: Path, fresh_database: str) -> None:
    folder = sales_folder(tmp_path / "p", fresh_database)
    folder.caught_up()
    assert folder.penstock("store", "url").out.strip() == fresh_database
    assert folder.penstock("store", "url", "--json").json["schema"] == "public"


def test_generate_is_deterministic(tmp_path: Path) -> None:
    for name in ("a", "b"):
        typed("generate", str(tmp_path / f"{name}.csv"), "--rows", "500", "--seed", "7", "--quiet")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    told = json.loads(typed("generate", str(tmp_path / "many"), "--files", "2", "--format", "jsonl", "--json").stdout)
    assert len(told["files"]) == 2
    assert told["bad"] > 0


def test_folder_helper_is_found_from_below(tmp_path: Path) -> None:
    folder: Folder = sales_folder(tmp_path / "p", "postgresql://127.0.0.1:1/none")
    assert "valid" in typed("validate", cwd=folder.root / "contracts").stderr
