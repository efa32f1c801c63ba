"""The server's life: ports, readiness, an orderly end, the child of `run`, and what it says of itself."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jsonschema
import psycopg
import pytest

import penstock
from penstock.errors import PenstockErrors, Place
from penstock.observe import Observation, emit, subscribe, unsubscribe
from penstock.observe.events import BatchKept, Notice, Serving
from penstock.project.model import EndpointFile, Paging, Parameter
from penstock.serve.catalogue import check_on_store
from penstock.serve.child import ServeChild
from penstock.serve.errors import BadPaging, CannotListen, EndpointRefused, StoreNotReached
from penstock.serve.server import ServeOptions, listen, run_server
from tests.serve.world import BY_CITY, PAGED, Client, World, make_project, make_world, serving

pytestmark = pytest.mark.slow


def test_a_port_that_is_taken_is_named(world: World) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"PEN820 cannot listen: 127.0.0.1:{port}: Address already in use"):
            run_server(world.project, world.url, ServeOptions(port=port))


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CannotListen, match=r"192\.0\.2\.1:80: Cannot assign requested address"):
        listen("192.0.2.1", 80)
    with pytest.raises(CannotListen, match=r"no\.such\.host\.invalid"):
        listen("no.such.host.invalid", 80)


def test_a_store_that_cannot_be_reached_at_the_start_is_an_error(world: World) -> None:
    with listen("127.0.0.1", 0) as nobody:
        url = f"postgresql://u:secret-word@127.0.0.1:{nobody.getsockname()[1]}/x?connect_timeout=1"
        nobody.close()
        with pytest.raises(StoreNotReached, match="PEN822 store not reachable: connection failed") as error:
            run_server(world.project, url, ServeOptions(port=0))
    assert "secret-word" not in str(error.value)


def test_running_requests_finish_before_the_end(world: World, tmp_path: Path) -> None:
    slow = EndpointFile("slow", "/slow", "SELECT pg_sleep(0.7)::text AS slept")
    got: list[int] = []
    with serving(make_project(tmp_path, world.url, slow), world.url) as client:
        second = Client(client.host, client.port)
        asking = threading.Thread(target=lambda: got.append(second.get("/slow").status))
        asking.start()
        with psycopg.connect(world.url, autocommit=True) as conn:
            running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(0.7)%' AND state = 'active'"
            while conn.execute(running).fetchone() != (2,):  # the statement and this question
                pass
    asking.join()
    second.close()
    assert got == [200]


def test_a_statement_that_takes_too_long_is_ended(world: World, tmp_path: Path) -> None:
    slow = EndpointFile("slow", "/slow", "SELECT pg_sleep(30)::text AS slept")
    with serving(make_project(tmp_path, world.url, slow), world.url, ServeOptions(port=0, timeout=0.2)) as client:
        got = client.get("/slow")
    assert (got.status, got.json["code"]) == (504, "PEN846")
    assert "canceling statement due to statement timeout" in got.json["detail"]


@pytest.mark.parametrize(
    ("sql", "status", "code", "detail"),
    [
        ("SELECT 1 / (:n - 1) AS x", 400, "PEN849", "division by zero"),
        ("SELECT city FROM top_sales_by_city LIMIT -:n", 400, "PEN849", "LIMIT must not be negative"),
        ("SELECT repeat('x', 70000000 * :n::int) AS x", 500, "PEN847", "the answer has more than 67108864 bytes"),
        ("SELECT pg_notify('x', :n::text)::text AS x, nextval('serial') AS y", 500, "PEN848", "could not be answered"),
    ],
)
def test_failures_of_a_statement(world: World, tmp_path: Path, sql: str, status: int, code: str, detail: str) -> None:
    with world.writing() as conn:
        conn.execute("CREATE SEQUENCE IF NOT EXISTS public.serial")
    number = Parameter("n", {"type": "integer"}, required=True, in_path=False)
    endpoint = EndpointFile("failing", "/failing", sql, parameters=(number,))
    with serving(make_project(tmp_path, world.url, endpoint), world.url) as client:
        got = client.get("/failing?n=1")
    assert (got.status, got.json["code"]) == (status, code)
    assert detail in got.json["detail"]
    assert "Traceback" not in got.body.decode()


def test_the_store_refuses_an_endpoint_with_its_place(world: World, tmp_path: Path) -> None:
    place = Place("endpoints/e.sql", 3)
    wrong = [
        EndpointFile("a", "/a", "SELECT city,\n  sum(city) AS s FROM top_sales_by_city GROUP BY 1", 3, place=place),
        EndpointFile("b", "/b", "SELECT city FROM top_sales_by_city WHERE date = :date", 3, parameters=(), place=place),
        EndpointFile("c", "/c", "SELECT city, city FROM top_sales_by_city", 3, place=place),
        EndpointFile("d", "/d", "SELECT 1 + 1", 3, place=place),
        EndpointFile("e", "/e", "SELECT city FROM top_sales_by_city", 3, paging=Paging((("date", True),)), place=place),
    ]
    text = Parameter("date", {"type": "integer"}, required=True, in_path=False)
    wrong[1] = EndpointFile("b", "/b", wrong[1].sql, 3, parameters=(text,), place=place)
    errors = asyncio.run(check_on_store(make_project(tmp_path, world.url, *wrong, BY_CITY), world.url))
    assert [type(e) for e in errors] == [EndpointRefused] * 4 + [BadPaging]
    texts = [str(e) for e in errors]
    assert texts[0].startswith("endpoints/e.sql:4:3: PEN810 endpoint refused by the store: function sum(text) does not")
    assert texts[1].startswith(
        "endpoints/e.sql:3:47: PEN810 endpoint refused by the store: operator does not exist: date"
    )
    assert "the answer has several columns 'city'" in texts[2]
    assert "a column has no name" in texts[3]
    assert "PEN809 paging not possible: paging.by names 'date', which is not selected (city)" in texts[4]
    with pytest.raises(PenstockErrors, match="PEN810"):
        run_server(make_project(tmp_path, world.url, wrong[0]), world.url, ServeOptions(port=0))


def test_the_openapi_document(client: Client) -> None:
    got = client.get("/openapi.json")
    assert got.headers["content-type"] == "application/json"
    document = got.json
    assert document["openapi"] == "3.1.0"
    operation = document["paths"]["/api/v1/sales/city"]["get"]
    assert operation["operationId"] == "sales_by_city"
    assert operation["parameters"][0] == {
        "name": "date",
        "in": "query",
        "required": True,
        "schema": {"type": "string", "format": "date"},
    }
    row = operation["responses"]["200"]["content"]["application/json"]["schema"]["items"]
    assert row["properties"]["total_sales"] == {"type": ["number", "null"]}
    assert row["properties"]["date"] == {"type": ["string", "null"], "format": "date"}
    jsonschema.Draft202012Validator.check_schema(row)
    jsonschema.validate(client.get("/api/v1/sales/city?date=2026-01-23").json, {"type": "array", "items": row})
    problem = document["components"]["schemas"]["Problem"]
    jsonschema.validate(client.get("/api/v1/sales/city").json, problem)
    assert client.get("/openapi.json", if_none_match=got.headers["etag"]).status == 304


def test_the_docs_page_needs_no_other_server(client: Client) -> None:
    for path in ("/docs", "/"):
        got = client.get(path)
        assert got.status == 200
        assert got.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in got.headers["content-security-policy"]
        assert b"http://" not in got.body
        assert b"https://" not in got.body
        assert b"<title>sales: API</title>" in got.body


def test_health(client: Client) -> None:
    for path in ("/livez", "/healthz", "/readyz", "/startupz"):
        got = client.get(path)
        assert (got.status, got.json) == (200, {"status": "ok"})
        assert got.headers["cache-control"] == "no-store"
    checks = client.get("/readyz?verbose").json["checks"]
    assert {c["check"]: c["ok"] for c in checks}["endpoint sales_by_city"] is True


def value_of(text: str, sample: str) -> float:
    """Returns a sample's value in Prometheus' text, 0 when it is not there."""
    return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(sample)), 0.0)


def test_metrics_count_requests_and_read_the_store(world: World, client: Client) -> None:
    with world.writing() as conn:
        conn.execute(
            "INSERT INTO source (name, type, stream, read, accepted, quarantined, duplicates, state, last_success)"
            " VALUES ('drops', 'files', 'sales', 10, 7, 2, 1, 'waiting', now())"
        )
        conn.execute("UPDATE pipeline SET late_set_aside = 4 WHERE name = 'top_sales_by_city'")
    hot = 'penstock_http_requests_total{cached="true",endpoint="sales_by_city",status="200"}'
    wrong = 'penstock_http_requests_total{cached="false",endpoint="sales_by_city",status="400"}'
    client.get("/api/v1/sales/city?date=2026-01-22")
    before = client.get("/metrics").body.decode()
    for _ in range(3):
        client.get("/api/v1/sales/city?date=2026-01-22")
    client.get("/api/v1/sales/city?date=x")
    text = client.get("/metrics").body.decode()
    assert value_of(text, hot) == value_of(before, hot) + 3
    assert value_of(text, wrong) == value_of(before, wrong) + 1
    for line in (
        'penstock_read_rows_total{source="drops"} 10.0',
        'penstock_accepted_rows_total{source="drops"} 7.0',
        'penstock_quarantined_rows_total{source="drops"} 2.0',
        'penstock_duplicate_rows_total{source="drops"} 1.0',
        'penstock_late_rows_total{outcome="set_aside",pipeline="top_sales_by_city"} 4.0',
        'penstock_late_rows_total{outcome="restated",pipeline="top_sales_by_city"} 3.0',
        'penstock_pipeline_position{pipeline="top_salesmen"} 1.0',
        "penstock_log_position 0.0",
        'penstock_source_state{source="drops",state="waiting"} 1.0',
        f'penstock_build_info{{version="{penstock.__version__}"}} 1.0',
    ):
        assert line in text.splitlines(), line


def heard(child: ServeChild) -> list[Observation]:
    found: list[Observation] = []
    subscribe(found.append)
    child.start()
    return found


def test_the_child_serves_counts_the_writers_batches_and_is_replaced(world: World) -> None:
    child = ServeChild(world.project, world.url, ServeOptions(port=0))
    seen = heard(child)
    try:
        host, port = child.addresses[0].removeprefix("http://").removesuffix("/docs").split(":")
        client = Client(host, int(port))
        assert client.get("/api/v1/sales/city?date=2026-01-22").status == 200
        assert child.wait_ready(10)
        emit(BatchKept("drops", "sales", 1, 1, 1, 0, 0, 0.5))
        line = b'penstock_batch_duration_seconds_count{source="drops"} 1.0'
        began = time.monotonic()
        while line not in client.get("/metrics").body:
            assert time.monotonic() - began < 10
        client.close()
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
        again = Client(host, int(port))
        assert again.get("/livez").status == 200
        again.close()
    finally:
        child.stop()
        unsubscribe(seen.append)
    assert next(o for o in seen if isinstance(o, Serving)).endpoints == 4
    assert any(isinstance(o, Notice) and "PEN821 server ended" in o.message for o in seen)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_the_child_tells_what_the_store_refuses(world: World, tmp_path: Path) -> None:
    bad = EndpointFile("bad", "/bad", "SELECT sum(city) AS s FROM top_sales_by_city", place=Place("endpoints/bad.sql"))
    child = ServeChild(make_project(tmp_path, world.url, bad), world.url, ServeOptions(port=0))
    seen = heard(child)
    try:
        began = time.monotonic()
        while child.error is None:
            assert time.monotonic() - began < 20
    finally:
        child.stop()
        unsubscribe(seen.append)
    assert "endpoints/bad.sql:1:8: PEN810 endpoint refused by the store" in str(child.error)


def test_the_child_ends_with_its_parent(world: World, tmp_path: Path) -> None:
    """The parent is killed: nobody closes anything in order, and the port is free soon."""
    (tmp_path / "parent.py").write_text(
        "import pickle, sys, time\n"
        "from penstock.serve.child import ServeChild\n"
        "from penstock.serve.server import ServeOptions\n"
        "project, url = pickle.load(open(sys.argv[1], 'rb'))\n"
        "child = ServeChild(project, url, ServeOptions(port=0))\n"
        "child.start(); child.wait_ready(20)\n"
        "print(child.addresses[0], flush=True)\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "orders").write_bytes(pickle.dumps((world.project, world.url)))
    source = str(Path(penstock.__file__).parents[1])
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "orders")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert parent.stdout
    address = parent.stdout.readline().strip().removeprefix("http://").removesuffix("/docs")
    host, port = address.split(":")
    client = Client(host, int(port))
    assert client.get("/livez").status == 200
    client.close()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    began = time.monotonic()
    while True:
        try:
            socket.create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            break
        assert time.monotonic() - began < 20


def test_results_in_another_schema(fresh_database: str, tmp_path: Path) -> None:
    other = make_world(fresh_database, tmp_path, BY_CITY, PAGED, schema="Über uns")
    with serving(other.project, other.url) as client:
        got = client.get("/api/v1/sales/city?date=2026-01-22")
        assert got.json[0]["city"] == "Köln"
        assert got.headers["penstock-final"] == "true"
        assert json.loads(client.get("/readyz?verbose").body)["status"] == "ok"
