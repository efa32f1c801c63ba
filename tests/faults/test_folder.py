"""A project folder with something wrong in it: told with code and place, before anything is read or written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.support import typed
from tests.projects import CITY, CONTRACT, DROPS, ENDPOINT, Folder, sales_folder

NOWHERE = "postgresql://u@127.0.0.1:1/none"
SOURCE, SETTINGS, BY_CITY = "sources/drops.yaml", "penstock.yaml", "pipelines/by_city.sql"
SALES, CITIES = "contracts/sales.odcs.yaml", "endpoints/cities.sql"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A whole folder; its store cannot be reached, and need not be to find what is wrong."""
    return sales_folder(tmp_path / "a project", NOWHERE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text", "code", "place", "found"),
    [
        (SOURCE, DROPS + "fields: {a: [b\n", "PEN102", f"{SOURCE}:8:1", "expected ',' or ']'"),
        (SOURCE, DROPS + "evry: 1s\n", "PEN104", f"{SOURCE}:7:1: evry", "did you mean 'every'?"),
        (SOURCE, DROPS + "every: 1s\n", "PEN103", f"{SOURCE}:7:1", "here and in line 5"),
        (SOURCE, DROPS.replace("100ms", "soon"), "PEN106", f"{SOURCE}:5:8: every", "'soon' should be a duration"),
        (SOURCE, DROPS.replace("stream: sales", "stream: salse"), "PEN118", f"{SOURCE}:2:9", "mean 'sales'?"),
        (SOURCE, DROPS.replace("type: files", "type: fils"), "PEN106", f"{SOURCE}:1:7", "mean 'files'?"),
        (SOURCE, DROPS + "password: hunter2\n", "PEN109", f"{SOURCE}:7:11: password", "write ${PASSWORD}"),
        ("sources/drops.yml", DROPS, "PEN114", "sources/drops", "drops.y"),
        (SETTINGS, "name: [x]\nstore: embedded\n", "PEN106", f"{SETTINGS}:1:7: name", "a list is not a text"),
        (SETTINGS, "", "PEN106", f"{SETTINGS}:1:1", "keys and values"),
        ("contracts/b.yaml", CONTRACT, "PEN114", f"{SALES}:7:11", "also described in contracts/b.yaml"),
        (BY_CITY, CITY.replace("FROM", "FORM"), "PEN501", f"{BY_CITY}:3:1", "FORM"),
        (BY_CITY, CITY.replace("sum(amount)", "sum(amuont)"), "PEN503", f"{BY_CITY}:1:", "mean 'amount'?"),
        (BY_CITY, CITY.replace("count(*)", "median(amount)"), "PEN505", f"{BY_CITY}:2:8", "nearest: avg(x)"),
        (BY_CITY, CITY.replace("FROM sales", "FROM sales LIMIT 3"), "PEN504", f"{BY_CITY}:3:18", "QUALIFY"),
        (BY_CITY, CITY.replace("amount", "amount::DOUBLE"), "PEN508", f"{BY_CITY}:1:45", "cast it"),
        (BY_CITY, "", "PEN121", f"{BY_CITY}:1:1", "write one SELECT"),
        (BY_CITY, "DROP TABLE sales\n", "PEN504", f"{BY_CITY}:1:", "one SELECT, not DROP"),
        (
            CITIES,
            ENDPOINT.replace("date, city, total", "date, city, totl"),
            "PEN807",
            f"{CITIES}:6:20",
            "'total_sales'",
        ),
    ],
)
def test_one_thing_wrong(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, name: str, text: str, code: str, place: str, found: str
) -> None:
    """Both `validate` and `run` refuse the folder with this one error, before the store is asked for."""
    folder.write(name, text)
    for verb in ("validate", "run"):
        ended, _, err = typed(folder, monkeypatch, verb)
        assert ended == 1
        [line] = [line for line in err.splitlines() if "PEN" in line and "warning" not in line]
        assert line.startswith(place)
        assert code in line
        assert found in err
    errors = json.loads(typed(folder, monkeypatch, "--json", "run")[1])["errors"]
    assert [e["code"] for e in errors] == [code]


def test_a_missing_variable_fails_the_verbs_that_need_it(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.root.joinpath(".env").unlink()
    monkeypatch.delenv("STORE", raising=False)
    assert typed(folder, monkeypatch, "validate")[0] == 0
    for verb in (["run"], ["status"], ["query", "SELECT 1"]):
        ended, _, err = typed(folder, monkeypatch, *verb)
        assert ended == 1
        assert "penstock.yaml:2:8: store: PEN107 missing variable" in err
        assert "write ${STORE:-default}" in err


def test_a_stream_without_its_contract_is_named_wherever_it_is_used(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write(SALES, CONTRACT.replace("- name: sales", "- name: sold"))
    ended, _, err = typed(folder, monkeypatch, "run")
    assert ended == 1
    assert f"{BY_CITY}:3:6: PEN502" in err
    assert f"{SOURCE}:2:9: stream: PEN118" in err
    assert "known: sold" in err


def test_bytes_that_are_no_text(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.root.joinpath(SOURCE).write_bytes(b"type: \xe9\n")
    ended, _, err = typed(folder, monkeypatch, "run")
    assert ended == 1
    assert f"{SOURCE}:1:7: PEN101" in err
    assert "byte 0xe9" in err
