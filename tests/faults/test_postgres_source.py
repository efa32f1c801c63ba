"""Faults of a source database: the source says why, the other source and the pipelines go on, no count is off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from penstock.store.private import PrivateServer
from tests.faults.support import counts, run_with, sources
from tests.projects import Folder, sales_folder

pytestmark = pytest.mark.slow
SHOP = """type: postgres
stream: sales
connection: "${SHOP_DB}"
table: orders
mode: incrementing
incrementing_column: id
every: 100ms
fields: {sale_id: "'db-' || id"}
"""
ROWS = "SELECT city, deals FROM by_city ORDER BY 1"
GOOD = "1,2026-03-01T10:00:00Z,10,Köln"


@pytest.fixture
def shop(postgres_server: PrivateServer, fresh_database: str) -> Iterator[str]:
    """A database with orders to read from, two of them."""
    name = fresh_database.split("/penstock")[0].rsplit("/", 1)[-1].split("?")[0] + "_shop"
    url = postgres_server.createdb(name)
    run(
        url,
        "CREATE TABLE orders (id bigint PRIMARY KEY, sold_at timestamptz, amount numeric(12,2), city text)",
        "INSERT INTO orders SELECT i, '2026-03-01 10:00Z', 1, 'Lyon' FROM generate_series(1, 2) i",
    )
    yield url
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        connection.execute("DROP ROLE IF EXISTS poor_reader")


@pytest.fixture
def folder(tmp_path: Path, fresh_database: str, shop: str) -> Folder:
    folder = sales_folder(tmp_path / "a project", fresh_database, **{"sources/shop.yaml": SHOP})
    folder.write(".env", f"STORE={fresh_database}\nSHOP_DB={shop}\n")
    return folder


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def stopped(folder: Folder, code: str, *texts: str) -> None:
    """The shop's source ended with this error, the drops were read to their end, the pipeline is well."""
    folder.drop("a.csv", GOOD)
    err = folder.caught_up(code=1).err
    for text in (code, *texts):
        assert text in err
    assert counts(folder, "drops") == (1, 1, 0, 0)
    found = sources(folder)["shop"]
    assert found["state"] in ("stopped", "retrying")
    assert code in found["error"]
    assert [p["error"] for p in folder.status()["pipelines"]] == [None]


def test_wrong_password(folder: Folder, shop: str) -> None:
    password = shop.split(":")[2].split("@")[0]
    folder.write(".env", folder.root.joinpath(".env").read_text().replace(f"SHOP_DB={shop}", f"SHOP_DB={shop}&x=1"))
    store = folder.root.joinpath(".env").read_text().split("\n")[0]
    folder.write(".env", f"{store}\nSHOP_DB={shop.replace(password, 'opensesame')}\n")
    stopped(folder, "PEN261", "password authentication failed", "hint: ")
    assert "opensesame" not in folder.penstock("status", "--json").out
    assert folder.rows(ROWS) == [("Köln", "1")]


def test_server_away_at_the_start(folder: Folder) -> None:
    store = folder.root.joinpath(".env").read_text().split("\n")[0]
    folder.write(".env", f"{store}\nSHOP_DB=postgresql://u@127.0.0.1:1/none\n")
    stopped(folder, "PEN260", "127.0.0.1:1")
    assert folder.rows(ROWS) == [("Köln", "1")]


def test_connections_lost_in_the_middle(folder: Folder, shop: str) -> None:
    """The source's server throws everybody out once a batch was read: it goes on from its cursor."""
    run(shop, "INSERT INTO orders SELECT i, '2026-03-01 10:00Z', 1, 'Lyon' FROM generate_series(3, 300000) i")
    kill = (
        f"import psycopg; psycopg.connect({shop!r}, autocommit=True).execute("
        "'SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()')"
    )
    run_with(folder, "intake.before_transaction", 1, kill, "--quiet")
    assert counts(folder, "shop") == (300_000, 300_000, 0, 0)
    assert folder.rows(ROWS) == [("Lyon", "300000")]


@pytest.mark.parametrize(
    ("statement", "code", "text"),
    [
        ("DROP TABLE orders", "PEN263", "orders"),
        ("ALTER TABLE orders RENAME id TO number", "PEN264", "id"),
        ("ALTER TABLE orders ALTER city TYPE integer USING 7", "PEN268", "city"),
    ],
)
def test_a_source_that_changed_between_two_runs(
    folder: Folder, shop: str, statement: str, code: str, text: str
) -> None:
    folder.caught_up()
    run(shop, statement)
    stopped(folder, code, text, "hint: ")
    assert counts(folder, "shop") == (2, 2, 0, 0)
    assert folder.rows(ROWS) == [("Köln", "1"), ("Lyon", "2")]


def test_a_required_column_that_is_dropped_loses_no_row(folder: Folder, shop: str) -> None:
    folder.caught_up()
    run(shop, "ALTER TABLE orders DROP city", "INSERT INTO orders VALUES (3, '2026-03-01 10:00Z', 1)")
    stopped(folder, "PEN264", "city")
    run(shop, "ALTER TABLE orders ADD city text DEFAULT 'Rom'")
    folder.caught_up()
    assert counts(folder, "shop") == (3, 3, 0, 0)


def test_no_right_to_read(folder: Folder, shop: str) -> None:
    run(shop, "CREATE ROLE poor_reader LOGIN PASSWORD 'poor'")
    store = folder.root.joinpath(".env").read_text().split("\n")[0]
    password = shop.split(":")[2].split("@")[0]
    poor = shop.replace(f"penstock:{password}", "poor_reader:poor")
    folder.write(".env", f"{store}\nSHOP_DB={poor}\n")
    stopped(folder, "PEN265", "orders", "GRANT")
