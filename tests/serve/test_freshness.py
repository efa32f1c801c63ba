"""What a cache may never do: label data with another version, keep an answer too long, outlive the store's word."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from penstock.project.model import EndpointFile
from penstock.serve.server import ServeOptions
from penstock.serve.versions import PATIENCE_SECONDS
from penstock.store.private import private_server
from tests.serve.proxy import Proxy
from tests.serve.world import BY_CITY, Client, World, make_project, make_world, serving

pytestmark = pytest.mark.slow

COUNTER = EndpointFile(
    "counter",
    "/counter",
    "SELECT max(transaction_count) AS high, min(transaction_count) AS low FROM top_sales_by_city",
)


def until(client: Client, target: str, expected: bytes, seconds: float = 10.0) -> float:
    """Asks until the answer holds `expected`; returns how long it took."""
    began = time.monotonic()
    while expected not in client.get(target).body:
        assert time.monotonic() - began < seconds, f"{expected!r} never came"
    return time.monotonic() - began


def test_an_etag_never_labels_other_data(fresh_database: str, tmp_path: Path) -> None:
    """A writer sets all rows to n with position n; readers see an ETag with one n alone, and n only rises."""
    world = make_world(fresh_database, tmp_path, COUNTER)
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(world.url, autocommit=True) as conn:
            conn.execute('SET search_path = "penstock", public')
            n = 100
            while not stop.is_set():
                n += 1
                with conn.transaction():
                    conn.execute("UPDATE top_sales_by_city SET transaction_count = %s", (n,))
                    world.move(conn)

    def read(port: int, seen: list[tuple[str, str, bytes]]) -> None:
        reader = Client("127.0.0.1", port)
        while len({etag for etag, _, _ in seen}) < 12 and len(seen) < 50_000:
            got = reader.get("/counter")
            assert got.json[0]["high"] == got.json[0]["low"]
            seen.append((got.headers["etag"], got.headers["penstock-as-of"], got.body))
        reader.close()

    with serving(world.project, world.url) as client, serving(world.project, world.url) as twin:
        writer = threading.Thread(target=write)
        with world.writing() as conn:
            conn.execute("UPDATE top_sales_by_city SET transaction_count = 100")
            world.move(conn)
        writer.start()
        seen: list[list[tuple[str, str, bytes]]] = [[], [], []]
        ports = (client.port, client.port, twin.port)
        readers = [threading.Thread(target=read, args=pair) for pair in zip(ports, seen, strict=True)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        stop.set()
        writer.join()
    labels: dict[str, set[tuple[str, bytes]]] = {}
    for etag, as_of, body in itertools.chain(*seen):
        labels.setdefault(etag, set()).add((as_of, body))
    assert len(labels) >= 12
    assert all(len(found) == 1 for found in labels.values())
    assert len({as_of for found in labels.values() for as_of, _ in found}) == len(labels)


def test_a_cached_answer_is_replaced_by_the_poll_alone(world: World, client: Client) -> None:
    until(client, "/api/v1/sales/city?date=2026-01-22", b"1234567890123.45")
    etag = client.get("/api/v1/sales/city?date=2026-01-22").headers["etag"]
    with world.writing() as conn:
        conn.execute("UPDATE top_sales_by_city SET total_sales = 5 WHERE date = '2026-01-22'")
        world.move(conn)
    until(client, "/api/v1/sales/city?date=2026-01-22", b'"total_sales":5.00')
    assert client.get("/api/v1/sales/city?date=2026-01-22", if_none_match=etag).status == 200


def test_answers_come_from_the_cache_while_nothing_changes(world: World, client: Client) -> None:
    """A change without a new position is not seen: proof that the store is not asked."""
    target = "/api/v1/salesmen/top?date=2026-01-23"
    before = client.get(target)
    with world.writing() as conn:
        conn.execute("UPDATE top_salesmen SET total_sales = total_sales + 1")
    assert client.get(target).body == before.body
    with world.writing() as conn:
        world.move(conn, "top_salesmen")
    until(client, target, b'"total_sales":21.00')


def test_two_servers_give_the_same_answers(world: World, client: Client) -> None:
    with serving(world.project, world.url) as other:
        for target in ("/api/v1/sales/city?date=2026-01-23", "/api/v1/cities"):
            mine, theirs = client.get(target), other.get(target)
            assert mine.body == theirs.body
            assert mine.headers["etag"] == theirs.headers["etag"]
            assert mine.headers.get("link") == theirs.headers.get("link")
        link = client.get("/api/v1/cities").headers["link"][1:].split(">")[0]
        assert other.get(link).status == 200


@pytest.mark.parametrize(
    ("sql", "steady"),
    [
        ("SELECT city FROM top_sales_by_city", True),
        ("SELECT city, to_char(date, 'DD.MM.') AS day FROM top_sales_by_city", True),
        ("SELECT city FROM by_city_view", True),
        ("SELECT city, now() AS at FROM top_sales_by_city", False),
        ("SELECT city FROM top_sales_by_city WHERE date > current_date - 30", False),
        ("SELECT city FROM top_sales_by_city WHERE date > 'yesterday'", False),
        ("SELECT city FROM top_sales_by_city ORDER BY random()", False),
        ("SELECT city FROM recent_view", False),
        ("SELECT city FROM top_sales_by_city JOIN public.names USING (city)", False),
        ("SELECT name FROM public.names", False),
    ],
)
def test_only_steady_answers_are_cached(world: World, tmp_path: Path, sql: str, steady: bool) -> None:
    with world.writing() as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS public.names (city text, name text)")
        conn.execute("CREATE OR REPLACE VIEW public.by_city_view AS SELECT * FROM top_sales_by_city")
        conn.execute(
            "CREATE OR REPLACE VIEW public.recent_view AS SELECT * FROM top_sales_by_city WHERE date < current_date"
        )
    endpoint = EndpointFile("e", "/e", sql)
    with serving(make_project(tmp_path, world.url, endpoint), world.url) as client:
        first = client.get("/e")
        assert first.status == 200
        assert client.get("/e", if_none_match=first.headers["etag"]).status in (200, 304)
        client.get("/e")
        metrics = client.get("/metrics").body
    assert (b'cached="true",endpoint="e"' in metrics) == steady


def test_a_table_that_is_not_steady_is_labelled_by_its_content(world: World, tmp_path: Path) -> None:
    with world.writing() as conn:
        conn.execute("CREATE TABLE public.plain (n int); INSERT INTO public.plain VALUES (1)")
    endpoint = EndpointFile("e", "/e", "SELECT n FROM public.plain")
    with serving(make_project(tmp_path, world.url, endpoint), world.url) as client:
        first = client.get("/e")
        assert "penstock-as-of" not in first.headers
        assert client.get("/e", if_none_match=first.headers["etag"]).status == 304
        with world.writing() as conn:
            conn.execute("UPDATE public.plain SET n = 2")
        assert client.get("/e", if_none_match=first.headers["etag"]).json == [{"n": 2}]


def test_a_result_that_is_not_there_yet_is_503_and_comes(fresh_database: str, tmp_path: Path) -> None:
    world = make_world(fresh_database, tmp_path, BY_CITY)
    with world.writing() as conn:
        conn.execute("ALTER TABLE top_sales_by_city RENAME TO elsewhere; DELETE FROM pipeline")
    with serving(world.project, world.url) as client:
        got = client.get("/api/v1/sales/city?date=2026-01-22")
        assert (got.status, got.json["code"], got.headers["retry-after"]) == (503, "PEN845", "1")
        assert 'relation "top_sales_by_city" does not exist' in got.json["detail"]
        assert client.get("/readyz").status == 200
        assert b"PEN845" in client.get("/readyz?verbose").body
        with world.writing() as conn:
            conn.execute("ALTER TABLE elsewhere RENAME TO top_sales_by_city")
            world.add_pipeline(conn, "top_sales_by_city")
        until(client, "/api/v1/sales/city?date=2026-01-22", b"1234567890123.45")
        assert client.get("/api/v1/sales/city?date=2026-01-22").headers["penstock-final"] == "true"


def test_a_column_that_changes_its_type_is_seen(fresh_database: str, tmp_path: Path) -> None:
    world = make_world(fresh_database, tmp_path, BY_CITY)
    with serving(world.project, world.url) as client:
        until(client, "/api/v1/sales/city?date=2026-01-22", b'"transaction_count":7')
        with world.writing() as conn:
            conn.execute(
                "ALTER TABLE top_sales_by_city ALTER transaction_count TYPE text USING 'n' || transaction_count"
            )
            conn.execute("UPDATE pipeline SET fingerprint = 'g' WHERE name = 'top_sales_by_city'")
        until(client, "/api/v1/sales/city?date=2026-01-22", b'"transaction_count":"n7"')


@pytest.fixture
def proxy(world: World) -> Iterator[Proxy]:
    found = Proxy(world.url)
    yield found
    found.close()


@pytest.mark.parametrize("how", ["cut", "hang"])
def test_a_store_that_is_lost_empties_the_cache_and_comes_back(world: World, proxy: Proxy, how: str) -> None:
    target = "/api/v1/sales/city?date=2026-01-23"
    with serving(world.project, proxy.url) as client:
        assert client.get(target).status == 200
        getattr(proxy, how)()
        began = last = time.monotonic()
        while (got := client.get(target)).status == 200:
            last = time.monotonic()
            assert last - began < 10
        assert last - began < PATIENCE_SECONDS / 2, "answered from the cache while nobody could know its version"
        assert (got.status, got.json["code"], got.headers["retry-after"]) == (503, "PEN844", "1")
        assert proxy.url.split(":")[2].split("@")[0] not in got.body.decode()
        assert client.get("/livez").status == 200
        ready = client.get("/readyz")
        assert (ready.status, ready.json["status"]) == (503, "unavailable")
        proxy.mend()
        until(client, target, b"Berlin", 30.0)
        assert client.get("/readyz").status == 200


def test_metrics_tell_that_the_store_is_away(world: World, proxy: Proxy) -> None:
    with serving(world.project, proxy.url) as client:
        assert b"penstock_store_up 1.0" in client.get("/metrics").body
        proxy.cut()
        until(client, "/metrics", b"penstock_store_up 0.0")


def test_a_connection_that_broke_costs_no_request(world: World) -> None:
    """The pool's connections are ended by the server between two requests: the next one is answered all the same."""
    with serving(world.project, world.url, ServeOptions(port=0, cache_bytes=0)) as client:
        for n in range(5):
            assert client.get(f"/api/v1/sales/city?date=2026-01-23&limit={n + 1}").status == 200
            with psycopg.connect(world.url, autocommit=True) as conn:
                conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'penstock serve'"
                    " AND query NOT LIKE '%%pipeline p WHERE p.builds%%'"
                )


def test_an_embedded_store_that_died_is_brought_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    with private_server(tmp_path_factory.mktemp("own")) as server:
        world = make_world(server.url(), tmp_path_factory.mktemp("state"))
        target = "/api/v1/sales/city?date=2026-01-22"
        with serving(world.project, world.url, ServeOptions(port=0, revive=server.ensure)) as client:
            assert client.get(target).status == 200
            postmaster = int((server.directory / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(postmaster, signal.SIGKILL)
            began = time.monotonic()
            while client.get(target).status == 200:
                assert time.monotonic() - began < 30
            until(client, target, b"1234567890123.45", 60.0)
