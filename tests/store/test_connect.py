"""Opening a store: tables made once however many ask, ids compared, errors said with what to do."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from penstock.project.model import Settings, StoreSettings
from penstock.store import connect
from penstock.store.connect import Store, explain, migrations, open_url
from penstock.store.errors import (
    DiskFull,
    NewerSchema,
    NotUtf8,
    OtherProject,
    StoreAway,
    StoreEmpty,
    StoreRefused,
    StoreTooOld,
    ValueTooLarge,
)
from penstock.store.private import PrivateServer

pytestmark = pytest.mark.slow


def test_opened_twice_it_is_the_same_project(fresh_database: str, tmp_path: Path) -> None:
    first = open_url(fresh_database, tmp_path)
    again = open_url(fresh_database, tmp_path)
    assert (again.project_id, again.secret, again.log_id) == (first.project_id, first.secret, first.log_id)
    assert len(first.secret) == 16


def test_embedded(tmp_path: Path) -> None:
    with Store.open(Settings(name="sales", state=tmp_path)) as store, store.connect() as connection:
        assert connection.execute("SELECT name FROM project").fetchone() == ("sales",)


def test_two_that_make_the_tables_at_once_do_not_clash(fresh_database: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: open_url(fresh_database, tmp_path), range(6)))
    assert len({store.project_id for store in stores}) == 1


def test_connections_speak_utc_and_our_schema(fresh_database: str, tmp_path: Path) -> None:
    store = open_url(fresh_database, tmp_path, schema="answers")
    with store.connect("me") as ours, store.connect(results=True, read_only=True) as theirs:
        assert ours.execute("SELECT current_schema, current_setting('TimeZone')").fetchone() == (
            "penstock_answers",
            "UTC",
        )
        assert ours.execute("SELECT current_setting('application_name')").fetchone() == ("me",)
        assert theirs.execute("SELECT current_schema").fetchone() == ("answers",)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            theirs.execute("CREATE TABLE x ()")


def test_another_projects_store_is_refused_by_name(fresh_database: str, tmp_path: Path) -> None:
    open_url(fresh_database, tmp_path / "a", name="sales")
    with pytest.raises(OtherProject, match=r"PEN713 .*schema penstock is used by project 'sales'.*this is 'hr'"):
        open_url(fresh_database, tmp_path / "b", name="hr")


def test_a_state_folder_of_another_project_is_refused(fresh_database: str, tmp_path: Path) -> None:
    open_url(fresh_database, tmp_path, name="sales")
    (tmp_path / "project.json").write_text(f'{{"id": "{uuid.uuid4()}"}}')
    with pytest.raises(OtherProject, match=r"PEN713 .*whose state folder .* says"):
        open_url(fresh_database, tmp_path, name="sales")


def test_a_deleted_state_folder_finds_its_project_by_name(fresh_database: str, tmp_path: Path) -> None:
    first = open_url(fresh_database, tmp_path / "a", name="sales")
    assert open_url(fresh_database, tmp_path / "b", name="sales").project_id == first.project_id


def test_tables_of_a_newer_version(fresh_database: str, tmp_path: Path) -> None:
    open_url(fresh_database, tmp_path)
    with psycopg.connect(fresh_database) as connection:
        connection.execute("INSERT INTO penstock.migration VALUES (9999, 'later', 'x')")
    with pytest.raises(NewerSchema, match=r"PEN714 .*migration 9999"):
        open_url(fresh_database, tmp_path)


def test_without_create_the_tables_must_be_there(fresh_database: str, tmp_path: Path) -> None:
    settings = Settings(name="x", state=tmp_path, store=StoreSettings(url=fresh_database))
    with pytest.raises(StoreEmpty, match=r"PEN723 .*no schema penstock with Penstock's tables"):
        Store.open(settings, create=False)


def test_wrong_password_and_missing_database_are_refusals(postgres_server: PrivateServer, tmp_path: Path) -> None:
    secret = (postgres_server.directory / "password").read_text()
    with pytest.raises(StoreRefused, match=r"PEN711 .*password authentication failed") as refused:
        open_url(postgres_server.url().replace(secret, "opensesame"), tmp_path)
    assert "opensesame" not in str(refused.value)
    with pytest.raises(StoreRefused, match=r"PEN711 .*does not exist"):
        open_url(postgres_server.url("nowhere"), tmp_path)


def test_a_server_that_is_not_there_may_come_back(tmp_path: Path) -> None:
    with pytest.raises(StoreAway, match=r"PEN710 .*127\.0\.0\.1:9") as away:
        open_url("postgresql://me:secret@127.0.0.1:9/db", tmp_path)
    assert away.value.retryable
    assert "secret" not in str(away.value)


def test_a_user_without_rights_is_told_which(
    fresh_database: str, postgres_server: PrivateServer, tmp_path: Path
) -> None:
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS poor")
        connection.execute("CREATE ROLE poor LOGIN PASSWORD 'poor'")
        name = connection.info.dbname
        url = f"postgresql://poor:poor@/{name}?host={postgres_server.socket}"
        with pytest.raises(StoreRefused, match=r"PEN711 .*permission denied for database[^$]*needs CREATE on the"):
            open_url(url, tmp_path)
        for schema in ("penstock", "answers", "penstock_answers"):
            connection.execute(f"CREATE SCHEMA {schema} AUTHORIZATION poor")
        assert open_url(url, tmp_path, schema="answers").project_name == "test"
        connection.execute("DROP OWNED BY poor")
        connection.execute("DROP ROLE poor")


def test_other_encoding_is_refused(postgres_server: PrivateServer, tmp_path: Path) -> None:
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS latin")
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(NotUtf8, match=r"PEN722 .*LATIN1"):
        open_url(postgres_server.url("latin"), tmp_path)


def test_old_servers_are_refused(fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "OLDEST_VERSION", 990000)
    with pytest.raises(StoreTooOld, match=r"PEN712 .*PostgreSQL \d\d"):
        open_url(fresh_database, tmp_path)


def test_migrations_are_numbered_without_gaps() -> None:
    assert [migration.number for migration in migrations()] == list(range(1, len(migrations()) + 1))


@pytest.mark.parametrize(
    ("error", "becomes", "told"),
    [
        (
            psycopg.errors.DiskFull("No space left on device"),
            DiskFull,
            "PEN704 no space left on the device: x: No space",
        ),
        (psycopg.errors.NumericValueOutOfRange("field overflow"), ValueTooLarge, "PEN719"),
        (psycopg.errors.AdminShutdown("terminating connection"), StoreAway, "PEN710"),
        (psycopg.errors.DeadlockDetected("deadlock"), StoreAway, "PEN710"),
        (psycopg.errors.InsufficientPrivilege("permission denied"), StoreRefused, "PEN711"),
    ],
)
def test_errors_of_the_server_by_what_they_mean(error: psycopg.Error, becomes: type[Exception], told: str) -> None:
    explained = explain(error, "x")
    assert type(explained) is becomes
    assert str(explained).startswith(told)
