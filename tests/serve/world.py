"""A small world for the API's tests: a store with the sales results filled by hand, a project, a running server."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from penstock.errors import Place
from penstock.project.model import EndpointFile, Paging, Parameter, Project, Settings, StoreSettings
from penstock.serve.server import ServeOptions, run_server
from penstock.store.connect import open_url

DATE = Parameter("date", {"type": "string", "format": "date"}, required=True, in_path=False)
LIMIT = Parameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10}, required=False, in_path=False
)

BY_CITY = EndpointFile(
    "sales_by_city",
    "/api/v1/sales/city",
    "SELECT date, city, total_sales, transaction_count\nFROM top_sales_by_city WHERE date = :date\n"
    "ORDER BY total_sales DESC, city LIMIT :limit",
    summary="Cities by total sales on one day",
    parameters=(DATE, LIMIT),
    place=Place("endpoints/sales_by_city.sql"),
)
HISTORY = EndpointFile(
    "salesman_history",
    "/api/v1/salesmen/{id}/history",
    "SELECT date, salesman_id, total_sales, rank FROM top_salesmen WHERE salesman_id = :id ORDER BY date DESC LIMIT 30",
    parameters=(Parameter("id", {"type": "string", "maxLength": 50}, required=True, in_path=True),),
    place=Place("endpoints/salesman_history.sql"),
)
TOP = EndpointFile(
    "top_salesmen",
    "/api/v1/salesmen/top",
    "SELECT date, salesman_id, total_sales, rank FROM top_salesmen WHERE date = :date AND rank <= :limit\n"
    "ORDER BY rank, salesman_id",
    parameters=(DATE, LIMIT),
    place=Place("endpoints/top_salesmen.sql"),
)
PAGED = EndpointFile(
    "all_cities",
    "/api/v1/cities",
    "SELECT date, city, total_sales FROM top_sales_by_city",
    paging=Paging((("date", True), ("city", False)), size=2, max=5),
    place=Place("endpoints/all_cities.sql"),
)

TABLES = """
CREATE TABLE "{schema}".top_sales_by_city (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, date date, city text COLLATE "C", total_sales numeric(15,2),
    transaction_count bigint, created_at timestamptz NOT NULL DEFAULT now(), UNIQUE NULLS NOT DISTINCT (date, city));
CREATE TABLE "{schema}".top_salesmen (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, date date, salesman_id text COLLATE "C",
    total_sales numeric(15,2), rank bigint, created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (date, salesman_id));
"""
CITIES = [
    ("2026-01-22", "Köln", "1234567890123.45", 7),
    ("2026-01-23", "Berlin", "100.10", 2),
    ("2026-01-23", 'Bad "Quote", Ort', "100.10", 1),
    ("2026-01-23", "Aachen", "0.05", 1),
    ("2026-01-23", None, "7.00", 1),
]
SALESMEN = [("2026-01-22", "s1", "10.00", 1), ("2026-01-23", "s1", "20.00", 1), ("2026-01-23", "s2", "5.50", 2)]


@dataclass
class World:
    """A store with both sales results at position 1, windows up to the end of 2026-01-22 final."""

    url: str
    project: Project
    schema: str = "public"

    @property
    def own(self) -> str:
        return self.project.settings.store.own_schema

    @contextmanager
    def writing(self) -> Iterator[psycopg.Connection[Any]]:
        """Gives a transaction that commits at its end."""
        with psycopg.connect(self.url) as conn:
            conn.execute(f'SET search_path = "{self.own}", "{self.schema}"')
            yield conn

    def create_tables(self) -> None:
        with self.writing() as conn:
            conn.execute(TABLES.format(schema=self.schema).encode())

    def fill(self) -> None:
        with self.writing() as conn:
            for row in CITIES:
                conn.execute(
                    "INSERT INTO top_sales_by_city (date, city, total_sales, transaction_count)"
                    " VALUES (%s, %s, %s, %s)",
                    row,
                )
            for salesman in SALESMEN:
                conn.execute(
                    "INSERT INTO top_salesmen (date, salesman_id, total_sales, rank) VALUES (%s, %s, %s, %s)", salesman
                )
            for name in ("top_sales_by_city", "top_salesmen"):
                self.add_pipeline(conn, name)

    def add_pipeline(self, conn: psycopg.Connection[Any], name: str, window: str | None = "date") -> None:
        conn.execute(
            "INSERT INTO pipeline (name, table_schema, table_name, generation, fingerprint, plan, key, window_column,"
            " position, batch_id, watermark, as_of, state) VALUES (%s, %s, %s, gen_random_uuid(), 'f', '{}', '{}', %s,"
            " 1, gen_random_uuid(), '2026-01-23T11:00:00Z', '2026-01-23T12:00:00.5Z', 'running')",
            (name, self.schema, name, window),
        )
        conn.execute(
            "INSERT INTO pipeline_window VALUES (%s, '2026-01-22', '2026-01-23T00:00:00Z', 0, 0),"
            " (%s, '2026-01-23', '2026-01-24T00:00:00Z', 3, 0)",
            (name, name),
        )

    def move(self, conn: psycopg.Connection[Any], name: str = "top_sales_by_city") -> None:
        """Moves a pipeline one position on, as an applied step does."""
        conn.execute(
            "UPDATE pipeline SET position = position + 1, batch_id = gen_random_uuid(), as_of = clock_timestamp()"
            " WHERE name = %s",
            (name,),
        )


def make_project(state: Path, url: str, *endpoints: EndpointFile, schema: str = "public") -> Project:
    settings = Settings("sales", state=state, store=StoreSettings(url, schema))
    return Project(state, settings, {}, {}, {}, {e.name: e for e in endpoints})


def make_world(url: str, state: Path, *endpoints: EndpointFile, schema: str = "public") -> World:
    """Makes the store's tables, the results and the project."""
    open_url(url, state, name="sales", schema=schema).close()
    world = World(url, make_project(state, url, *(endpoints or (BY_CITY, HISTORY, TOP, PAGED)), schema=schema), schema)
    world.create_tables()
    world.fill()
    return world


@dataclass
class Got:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """A keep-alive HTTP client of one server."""

    host: str
    port: int
    _conn: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self._conn = http.client.HTTPConnection(self.host, self.port, timeout=30)

    def get(self, target: str, method: str = "GET", **headers: str) -> Got:
        self._conn.request(method, target, headers={k.replace("_", "-"): v for k, v in headers.items()})
        response = self._conn.getresponse()
        return Got(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def close(self) -> None:
        self._conn.close()


@contextmanager
def serving(project: Project, url: str, options: ServeOptions = ServeOptions(port=0)) -> Iterator[Client]:
    """Runs the real server in a thread and gives a client of it."""
    ready = threading.Event()
    at: list[Any] = []
    stopping: list[Any] = []
    failed: list[BaseException] = []

    def hold(event: asyncio.Event) -> None:
        stopping.append((asyncio.get_running_loop(), event))

    def on_ready(host: str, port: int) -> None:
        at.append((host, port))
        ready.set()

    def main() -> None:
        try:
            run_server(project, url, options, on_ready=on_ready, stop=hold)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=main)
    thread.start()
    ready.wait()
    if failed:
        thread.join()
        raise failed[0]
    client = Client(*at[0])
    try:
        yield client
    finally:
        client.close()
        loop, event = stopping[0]
        loop.call_soon_threadsafe(event.set)
        thread.join()
