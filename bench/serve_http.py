"""Benchmark 3: a 10-row answer over HTTP, keep-alive, one worker; each figure beside its yardstick in the same run.

`python -m bench.serve_http [--seconds N] [--rounds N]`; needs `wrk`.

- hot: one question again and again, beside granian sending the same prepared bytes by an RSGI function;
- uncached: another day with every request and no cache, beside a server of the same kind that runs the endpoint's bare
  SELECT through psycopg on as many connections, fetches the rows and sends prepared bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import psycopg

from bench.common import record
from penstock.errors import Place
from penstock.project.model import EndpointFile, Parameter, Project, Settings, StoreSettings
from penstock.serve.server import ServeOptions, _Embedded, listen, run_server
from penstock.store.connect import open_url
from penstock.store.private import private_server

DAYS, CITIES, CONNECTIONS = 1000, 200, 4
SQL = """SELECT date, city, total_sales, transaction_count
FROM top_sales_by_city WHERE date = :date
ORDER BY total_sales DESC, city LIMIT :limit"""
PATH = "/api/v1/sales/city"
TABLE = f"""
SET search_path = public;
CREATE TABLE top_sales_by_city (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, date date, city text COLLATE "C",
    total_sales numeric(15,2), transaction_count bigint, avg_sale numeric(15,2), max_sale numeric(15,2),
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (date, city));
INSERT INTO top_sales_by_city (date, city, total_sales, transaction_count, avg_sale, max_sale)
    SELECT '2024-01-01'::date + d, 'City ' || c, (hashint8(d * 1000 + c) % 100000000) / 100.0 + 1e6, c, 1, 2
    FROM generate_series(0, {DAYS - 1}) d, generate_series(1, {CITIES}) c;
INSERT INTO penstock.pipeline (name, table_schema, table_name, generation, fingerprint, plan, key, window_column,
    position, batch_id, watermark, as_of) VALUES ('top_sales_by_city', 'public', 'top_sales_by_city',
    gen_random_uuid(), 'f', '{{}}', '{{date,city}}', 'date', 1, gen_random_uuid(), '2026-01-01Z', now());
INSERT INTO penstock.pipeline_window SELECT 'top_sales_by_city', ('2024-01-01'::date + d)::text,
    ('2024-01-02'::date + d)::timestamp AT TIME ZONE 'UTC', 0, 0 FROM generate_series(0, {DAYS - 1}) d;
"""
LUA = """
local n = 0
request = function()
  n = (n + 7) % 1000
  return wrk.format("GET", "PATH?date=" .. os.date("!%Y-%m-%d", 1704067200 + n * 86400))
end
""".replace("PATH", PATH)


def project(url: str, state: Path) -> Project:
    date = Parameter("date", {"type": "string", "format": "date"}, True, False)
    limit = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10}, False, False)
    endpoint = EndpointFile("sales_by_city", PATH, SQL, parameters=(date, limit), place=Place("bench"))
    settings = Settings("bench", state=state, store=StoreSettings(url))
    return Project(state, settings, {}, {}, {}, {endpoint.name: endpoint})


async def prepared(body: bytes) -> Any:
    """The first yardstick: the same bytes and headers, lying ready."""
    headers = [("content-type", "application/json"), ("etag", '"' + "0" * 32 + '"'), ("vary", "Accept")]
    headers += [("cache-control", "no-cache"), ("penstock-as-of", "2026-01-01T00:00:00.000000Z")]
    headers += [("penstock-watermark", "2026-01-01T00:00:00Z"), ("penstock-final", "true")]

    async def target(scope: Any, protocol: Any) -> None:
        protocol.response_bytes(200, headers, body)

    return target


async def bare_query(url: str, body: bytes) -> Any:
    """The second yardstick: the endpoint's SELECT on a free connection, the rows fetched, prepared bytes sent."""
    sql = SQL.replace(":date", "%s").replace(":limit", "%s")
    free: asyncio.LifoQueue[psycopg.AsyncConnection[Any]] = asyncio.LifoQueue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=0))

    async def target(scope: Any, protocol: Any) -> None:
        date = parse_qs(scope.query_string)["date"][0]
        conn = await free.get()
        cursor = await conn.execute(sql, (date, 10))
        await cursor.fetchall()
        free.put_nowait(conn)
        protocol.response_bytes(200, [("content-type", "application/json")], body)

    return target


def serve(kind: str, url: str, state: Path, body: bytes) -> None:
    """Runs one server in this process until it is killed; prints its port."""

    def ready(_: str, port: int) -> None:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()

    if kind.startswith("penstock"):
        options = ServeOptions(port=0, connections=CONNECTIONS)
        options = options if kind == "penstock-hot" else replace(options, cache_bytes=0)
        run_server(project(url, state), url, options, on_ready=ready)
        return

    async def main() -> None:
        target = await (prepared(body) if kind == "prepared" else bare_query(url, body))
        with listen("127.0.0.1", 0) as sock:
            ready("", sock.getsockname()[1])
            await _Embedded(target, sock).serve()

    asyncio.run(main())


@contextmanager
def server(kind: str, url: str, state: Path) -> Iterator[tuple[int, int]]:
    """Runs a server; gives its process id and port."""
    command = [sys.executable, "-m", "bench.serve_http", "--serve", kind, "--url", url, "--state", str(state)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """Returns the processor time a process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Loaded:
    """What one server did: requests per second of each round, and processor time per request over all."""

    rates: list[float] = field(default_factory=list)
    requests: int = 0
    cpu: float = 0.0

    def load(self, at: tuple[int, int], seconds: int, script: Path | None) -> None:
        """Loads the server by wrk, 16 connections. Every answer must be 200."""
        pid, port = at
        command = ["wrk", "-t1", "-c16", f"-d{seconds}", f"http://127.0.0.1:{port}{PATH}?date=2024-03-01"]
        command[4:4] = ["-s", str(script)] if script else []
        before = cpu_seconds(pid)
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        self.cpu += cpu_seconds(pid) - before
        rate, requests = re.search(r"Requests/sec:\s+([\d.]+)", out), re.search(r"(\d+) requests in", out)
        if "Non-2xx" in out or "Socket errors" in out or not rate or not requests:
            raise SystemExit(out)
        self.rates.append(float(rate[1]))
        self.requests += int(requests[1])


def compare(
    kinds: tuple[str, str], url: str, state: Path, rounds: Sequence[int], script: Path | None
) -> dict[str, float]:
    """Runs both servers (ours, yardstick) side by side and loads them in turn; ratios are of neighbouring rounds."""
    with server(kinds[0], url, state) as first, server(kinds[1], url, state) as second:
        for at in (first, second):
            Loaded().load(at, 3, script)
        ours, yardstick = Loaded(), Loaded()
        for seconds in rounds:
            ours.load(first, seconds, script)
            yardstick.load(second, seconds, script)
    ratios = sorted(a / b for a, b in zip(ours.rates, yardstick.rates, strict=True))
    return {
        "requests_per_second": round(statistics.median(ours.rates)),
        "yardstick_requests_per_second": round(statistics.median(yardstick.rates)),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_lowest": round(ratios[0], 3),
        "ratio_highest": round(ratios[-1], 3),
        "server_cpu_us_per_request": round(ours.cpu / ours.requests * 1e6, 1),
        "yardstick_cpu_us_per_request": round(yardstick.cpu / yardstick.requests * 1e6, 1),
    }


def body_of(url: str, state: Path) -> bytes:
    with server("penstock-hot", url, state) as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", f"{PATH}?date=2024-03-01")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
    if answer.status != 200:
        raise SystemExit(body.decode())
    return body


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--serve")
    parser.add_argument("--url", default="")
    parser.add_argument("--state", type=Path, default=Path())
    args = parser.parse_args()
    if args.serve:
        body = (args.state / "body").read_bytes() if (args.state / "body").exists() else b"[]"
        serve(args.serve, args.url, args.state, body)
        return
    if shutil.which("wrk") is None:
        msg = "wrk is needed (apt-get install wrk)"
        raise SystemExit(msg)
    with tempfile.TemporaryDirectory() as folder, private_server(Path(folder) / "pg") as postgres:
        state, url = Path(folder), postgres.url()
        open_url(url, state, name="bench").close()
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(TABLE.encode())
            conn.execute("VACUUM ANALYZE")
        (state / "body").write_bytes(body_of(url, state))
        (state / "days.lua").write_text(LUA)
        rounds = [args.seconds] * args.rounds
        hot = compare(("penstock-hot", "prepared"), url, state, rounds, None)
        cold = compare(("penstock-cold", "bare"), url, state, rounds, state / "days.lua")
        figures = {"hot": hot, "uncached": cold, "body_bytes": (state / "body").stat().st_size}
        record("serve_http", figures, state)


if __name__ == "__main__":
    main()
