"""Benchmarks 4 and 5: cold start, and a row committed in the source database until the API gives the new answer.

`python -m bench.start` prints the seconds from an empty folder to the first answer (embedded store made on the way),
and p50 and p99 of commit -> new answer with `every: 100ms`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import psycopg

from bench.common import penstock, percentile, record
from penstock.store.private import private_server

ROWS = 60
SHOP = """type: postgres
stream: sales
connection: "${SHOP}"
table: orders
mode: incrementing
incrementing_column: sale_id
every: 100ms
fields: {sale_id: "sale_id::VARCHAR"}
"""
ENDPOINT = """/*
path: /total
*/
SELECT sum(sales_count)::bigint AS n FROM sales_by_city
"""


def cold_start(folder: Path) -> float:
    """Seconds of `init`, `run --until-caught-up` and `query`, one after another, in an empty folder."""
    began = time.perf_counter()
    subprocess.run(penstock("init", str(folder / "first"), "--quiet"), check=True)
    subprocess.run(penstock("--project", str(folder / "first"), "run", "--until-caught-up", "--quiet"), check=True)
    return time.perf_counter() - began


def commit_to_answer(folder: Path) -> list[float]:
    """Milliseconds from the commit of one row to the API's answer that counts it."""
    root = folder / "shop"
    subprocess.run(penstock("init", str(root), "--quiet"), check=True)
    with private_server(folder / "state") as server:
        url = server.createdb("shop")
        with psycopg.connect(url, autocommit=True) as con:
            con.execute(
                "CREATE TABLE orders (sale_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
                " sold_at timestamptz DEFAULT now(), city text DEFAULT 'Porto', amount numeric DEFAULT 1)"
            )
            (root / "sources/shop.yaml").write_text(SHOP)
            (root / "endpoints/total.sql").write_text(ENDPOINT)
            (root / "penstock.yaml").write_text("name: shop\nserve: {port: 18431}\n")
            (root / ".env").write_text(f"SHOP={url}\n")
            process = subprocess.Popen(penstock("--project", str(root), "run", "--quiet"))
            try:
                return [one_row(con, i + 1) for i in range(ROWS)][10:]
            finally:
                process.terminate()
                process.wait()


def one_row(con: psycopg.Connection[object], count: int) -> float:
    con.execute("INSERT INTO orders DEFAULT VALUES")
    began = time.perf_counter()
    while True:
        try:
            with urllib.request.urlopen("http://127.0.0.1:18431/total", timeout=5) as answer:
                if json.load(answer)[0]["n"] == count:
                    return (time.perf_counter() - began) * 1000
        except OSError:
            time.sleep(0.1)
        if time.perf_counter() - began > 30:
            raise SystemExit(f"row {count} did not arrive")
        time.sleep(0.001)


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    try:
        starts = []
        for i in range(3):
            (folder / str(i)).mkdir()
            starts.append(cold_start(folder / str(i)))
        times = commit_to_answer(folder)
        figures = {
            "cold_start_s": round(percentile(starts, 50), 2),
            "commit_to_answer_p50_ms": round(percentile(times, 50)),
            "commit_to_answer_p99_ms": round(percentile(times, 99)),
            "every_ms": 100,
        }
        record("start", figures, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
