"""Local state that is damaged, gone or foreign, and a log with parts missing: found, named, never less data."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.faults.support import KOELN, TOTALS, counts
from tests.projects import CITY, Folder, sales_folder

pytestmark = pytest.mark.slow
SMALL = ("1,2026-03-01T10:00:00Z,10,Köln", "2,2026-03-01T10:00:00Z,1,Köln")
MANY = 20_000
"""Rows that need a segment of their own."""


@pytest.fixture
def folder(tmp_path: Path, fresh_database: str) -> Folder:
    """A project that took in a big batch and a small one."""
    folder = sales_folder(tmp_path / "a project", fresh_database)
    folder.drop("a.csv", *(f"a-{i},2026-03-01T10:00:00Z,1.00,Köln" for i in range(MANY)))
    folder.caught_up()
    folder.drop("b.csv", *SMALL)
    folder.caught_up()
    return folder


def state(folder: Folder) -> Path:
    return folder.root / ".penstock/default"


def files(folder: Folder, part: str) -> list[Path]:
    found = [p for p in sorted((state(folder) / part).rglob("*")) if p.is_file()]
    assert found
    return found


def flip(path: Path) -> None:
    """Other bytes in its middle, of the same length."""
    content = bytearray(path.read_bytes())
    rng = random.Random(len(content))
    for i in rng.sample(range(len(content)), min(64, len(content))):
        content[i] ^= 0xFF
    path.write_bytes(content)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("part", ["memory", "engine"])
@pytest.mark.parametrize("damage", [flip, halve, empty])
def test_damaged_state_is_built_again(folder: Folder, part: str, damage: Callable[[Path], None]) -> None:
    for path in files(folder, part):
        damage(path)
    folder.drop("c.csv", SMALL[0], "3,2026-03-01T10:00:00Z,5,Köln")
    folder.caught_up()
    assert folder.rows(TOTALS) == [(*KOELN, f"{MANY + 16}.00", str(MANY + 3))]
    assert counts(folder) == (MANY + 4, MANY + 3, 0, 1)


def segment(folder: Folder) -> Path:
    [path] = files(folder, "log")
    return path


@pytest.mark.parametrize(
    ("damage", "code"), [(Path.unlink, "PEN401"), (flip, "PEN402"), (halve, "PEN402"), (empty, "PEN402")]
)
def test_a_segment_gone_or_damaged_stops_those_who_need_it(
    folder: Folder, damage: Callable[[Path], None], code: str
) -> None:
    path = segment(folder)
    whole = path.read_bytes()
    damage(path)
    folder.write("pipelines/anew.sql", CITY)
    folder.drop("c.csv", "3,2026-03-01T10:00:00Z,5,Köln")
    err = folder.caught_up(code=1).err
    assert code in err
    assert path.name in err
    assert "hint: " in err
    pipelines = {p["name"]: p for p in folder.status()["pipelines"]}
    assert code in pipelines["anew"]["error"]
    assert (pipelines["by_city"]["error"], pipelines["anew"]["rows"]) == (None, 0)
    assert folder.rows(TOTALS) == [(*KOELN, f"{MANY + 16}.00", str(MANY + 3))]
    assert code in folder.penstock("export", "sales", "--format", "csv", code=1).err
    path.write_bytes(whole)
    folder.caught_up()
    assert folder.rows(TOTALS.replace("by_city", "anew")) == folder.rows(TOTALS)
    assert counts(folder) == (MANY + 3, MANY + 3, 0, 0)


def test_memory_that_needs_a_missing_segment_stops_the_source(folder: Folder) -> None:
    """Without its memory the source cannot know which keys it has seen; to guess would count rows twice."""
    path = segment(folder)
    path.rename(folder.root / "segment")
    shutil.rmtree(state(folder) / "memory")
    folder.drop("c.csv", SMALL[0], "3,2026-03-01T10:00:00Z,5,Köln")
    assert "PEN401" in folder.caught_up(code=1).err
    assert counts(folder) == (MANY + 2, MANY + 2, 0, 0)
    (folder.root / "segment").rename(path)
    folder.caught_up()
    assert counts(folder) == (MANY + 4, MANY + 3, 0, 1)


def test_a_damaged_inline_block(folder: Folder, fresh_database: str) -> None:
    with psycopg.connect(fresh_database) as con:
        con.execute("UPDATE penstock.batch SET inline = overlay(inline placing '\\xffff' from 100) WHERE position = 2")
    folder.write("pipelines/anew.sql", CITY)
    err = folder.caught_up(code=1).err
    assert "PEN402" in err
    assert "2" in err
    pipelines = {p["name"]: p for p in folder.status()["pipelines"]}
    assert (pipelines["anew"]["rows"], pipelines["by_city"]["error"]) == (0, None)


def test_a_manifest_with_a_gap(folder: Folder, fresh_database: str) -> None:
    folder.drop("c.csv", "3,2026-03-01T10:00:00Z,5,Köln")
    folder.caught_up()
    with psycopg.connect(fresh_database) as con:
        con.execute("DELETE FROM penstock.batch WHERE position = 2")
    folder.write("pipelines/anew.sql", CITY)
    assert "PEN407" in folder.caught_up(code=1).err
    assert {p["name"]: p["rows"] for p in folder.status()["pipelines"]} == {"anew": 0, "by_city": 1}


def test_the_state_folder_of_another_project(tmp_path: Path, folder: Folder, fresh_database: str) -> None:
    """A copy of the whole project, another store in its .env: refused by id before anything is read or written."""
    shutil.copytree(folder.root, tmp_path / "copy")
    other = Folder(tmp_path / "copy")
    with psycopg.connect(fresh_database, autocommit=True) as con:
        con.execute("CREATE SCHEMA penstock_x")
    other.write("penstock.yaml", 'name: other\nstore: {url: "${STORE}", schema: x}\nserve: {port: 0}\n')
    other.caught_up()
    with psycopg.connect(fresh_database, autocommit=True) as con:
        con.execute("UPDATE penstock_x.project SET id = gen_random_uuid()")
    err = other.caught_up(code=1).err
    assert "PEN713" in err
    assert "is used by project 'other'" in err


def test_memory_and_engine_of_another_project(tmp_path: Path, folder: Folder, postgres_url: str) -> None:
    """Their chain is another one: thrown away, and built from this project's log."""
    other = sales_folder(tmp_path / "other", postgres_url.replace("/penstock?", "/postgres?"))
    other.write("penstock.yaml", 'name: other\nstore: {url: "${STORE}", schema: foreign_state}\nserve: {port: 0}\n')
    other.drop("a.csv", "a-1,2026-03-02T10:00:00Z,7.00,Rom")
    other.caught_up()
    for part in ("memory", "engine"):
        shutil.rmtree(state(folder) / part)
        shutil.copytree(state(other) / part, state(folder) / part)
    folder.drop("c.csv", "a-1,2026-03-01T10:00:00Z,1.00,Köln", "3,2026-03-01T10:00:00Z,5,Köln")
    folder.caught_up()
    assert folder.rows(TOTALS) == [(*KOELN, f"{MANY + 16}.00", str(MANY + 3))]
    assert counts(folder) == (MANY + 4, MANY + 3, 0, 1)
    with psycopg.connect(postgres_url.replace("/penstock?", "/postgres?"), autocommit=True) as con:
        con.execute("DROP SCHEMA foreign_state, penstock_foreign_state CASCADE")


def test_a_store_set_back_before_a_segment(folder: Folder, fresh_database: str) -> None:
    """The store is restored to before anything was read; segments, memory and engine are from later."""
    with psycopg.connect(fresh_database, autocommit=True) as con:
        con.execute(
            "TRUNCATE by_city, penstock.pipeline_window, penstock.pipeline, penstock.batch, penstock.receipt,"
            " penstock.source, penstock.quarantine"
        )
        con.execute("DROP TABLE by_city")
    folder.drop("c.csv", SMALL[0])
    folder.caught_up()
    assert folder.rows(TOTALS) == [(*KOELN, f"{MANY + 11}.00", str(MANY + 2))]
    assert counts(folder) == (MANY + 3, MANY + 2, 0, 1)
