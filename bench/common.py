"""What the benchmarks share: sample files, the process tree's memory, percentiles, the results file."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb

RESULTS = Path(__file__).parent / "results"

CITY = """SELECT CAST(sold_at AS DATE) AS date, city, CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales,
       count(*) AS transaction_count, CAST(avg(amount) AS DECIMAL(15,2)) AS avg_sale,
       CAST(max(amount) AS DECIMAL(15,2)) AS max_sale
FROM sales
GROUP BY date, city
"""
SALESMEN = """SELECT CAST(sold_at AS DATE) AS date, salesman_id,
       arg_max(salesman_name, (sold_at, sale_id)) AS salesman_name,
       CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales, count(*) AS deals_closed,
       CAST(avg(amount) AS DECIMAL(15,2)) AS avg_deal_size, count(DISTINCT city) AS cities_covered,
       rank() OVER (PARTITION BY date ORDER BY total_sales DESC) AS rank
FROM sales
GROUP BY date, salesman_id
QUALIFY rank <= 100
"""


def sales_sql(rows: int, first: int = 0, per_day: int = 330_000) -> str:
    """SELECT of `rows` sales in order of time from number `first`: 200 cities, 1,000 salesmen, heavy-tailed amounts."""
    return f"""SELECT 's-' || n AS sale_id,
      strftime(TIMESTAMP '2026-01-01' + to_microseconds(n * {86_400_000_000 // per_day}), '%Y-%m-%dT%H:%M:%S.%fZ')
        AS sold_at,
      CAST(exp(2 + 5 * (hash(n, 1) % 1000000) / 1000000.0) AS DECIMAL(12,2)) AS amount,
      'City ' || (hash(n, 2) % 200) AS city, 'm-' || (hash(n, 3) % 1000) AS salesman_id,
      'Name ' || (hash(n, 3) % 1000) AS salesman_name, 'c' || (n % 5000) || '@example.com' AS customer_email,
      ['shop', 'drop', 'partner'][1 + n % 3] AS channel
      FROM (SELECT range + {first} AS n FROM range({rows}))"""


def write_sales(folder: Path, rows: int, files: int, form: str) -> None:
    """Writes `rows` sales in `files` files of `form` (jsonl, csv, parquet) below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    con = duckdb.connect(config={"memory_limit": "2GB"})
    options = {"jsonl": "FORMAT json", "csv": "FORMAT csv, HEADER", "parquet": "FORMAT parquet"}[form]
    each = rows // files
    for i in range(files):
        con.execute(f"COPY ({sales_sql(each, i * each)}) TO '{folder}/sales-{i:03}.{form}' ({options})")
    con.close()


def write_project(root: Path, form: str, *, key: bool, every: str = "10s") -> None:
    """A sales project over files below `root`/drops, with both pipelines and no endpoint."""
    for name in ("contracts", "sources", "pipelines", "drops"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "penstock.yaml").write_text("name: bench\n")
    primary = ", primaryKey: true, primaryKeyPosition: 1" if key else ""
    (root / "contracts/sales.odcs.yaml").write_text(f"""apiVersion: v3.1.0
kind: DataContract
id: sales
version: 1.0.0
status: active
schema:
  - name: sales
    logicalType: object
    customProperties:
      - {{property: eventTime, value: sold_at}}
      - {{property: allowedLateness, value: 1h}}
    properties:
      - {{name: sale_id, logicalType: string, required: true{primary}}}
      - {{name: sold_at, logicalType: timestamp, required: true}}
      - name: amount
        logicalType: number
        physicalType: "decimal(12,2)"
        required: true
        logicalTypeOptions: {{minimum: 0}}
      - {{name: city, logicalType: string, required: true, logicalTypeOptions: {{minLength: 1, maxLength: 100}}}}
      - {{name: salesman_id, logicalType: string, required: true}}
      - {{name: salesman_name, logicalType: string, required: true}}
      - {{name: customer_email, logicalType: string}}
      - {{name: channel, logicalType: string}}
""")
    (root / "sources/drops.yaml").write_text(
        f'type: files\nstream: sales\npath: drops\nmatch: "*.{form}"\nevery: {every}\nready: {{stable_for: 0s}}\n'
    )
    (root / "pipelines/top_sales_by_city.sql").write_text(CITY)
    salesmen = SALESMEN if key else SALESMEN.replace("(sold_at, sale_id)", "(sold_at, sale_id, salesman_name)")
    (root / "pipelines/top_salesmen.sql").write_text(salesmen)


@dataclass
class Memory:
    """Peak resident memory of a process tree in MiB, PostgreSQL's processes apart."""

    own: float = 0.0
    postgres: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)


def _tree(root: int) -> Iterator[int]:
    yield root
    try:
        tasks = list(Path(f"/proc/{root}/task").iterdir())
    except OSError:
        return
    for task in tasks:
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _tree(int(child))


def _sample(root: int, memory: Memory) -> None:
    own = postgres = 0
    for pid in _tree(root):
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
        if name == "postgres":
            postgres += pages
        else:
            own += pages
    page = os.sysconf("SC_PAGE_SIZE") / 2**20
    memory.own = max(memory.own, own * page)
    memory.postgres = max(memory.postgres, postgres * page)


@contextmanager
def watched(pid: int) -> Iterator[Memory]:
    """Samples the memory of the tree below `pid` every 50 ms."""
    memory = Memory()

    def watch() -> None:
        while not memory._stop.wait(0.05):
            _sample(pid, memory)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        memory._stop.set()
        thread.join()


def penstock(*args: str) -> list[str]:
    return [sys.executable, "-m", "penstock", *args]


def timed_run(command: Sequence[str]) -> tuple[float, Memory]:
    """Runs a command to its end. Returns its wall-clock seconds and memory. Raises when it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with watched(process.pid) as memory:
        _, err = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{err.decode()}")
    return time.perf_counter() - began, memory


def percentile(values: Sequence[float], p: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(p / 100 * (len(ordered) - 1)))]


def fsync_ms(folder: Path) -> float:
    """Median milliseconds of writing 8 KiB and fsync in `folder`: what a commit costs at the least here."""
    times = []
    for _ in range(50):
        began = time.perf_counter()
        with (folder / ".fsync").open("wb") as file:
            file.write(b"x" * 8192)
            file.flush()
            os.fsync(file.fileno())
        times.append((time.perf_counter() - began) * 1000)
    (folder / ".fsync").unlink()
    return percentile(times, 50)


def record(name: str, figures: object, folder: Path) -> None:
    """Appends the figures to bench/results/NAME.jsonl, with date, machine, fsync time and commit; prints them."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    dirty = subprocess.run(["git", "status", "--porcelain", "src"], capture_output=True, text=True, check=False).stdout
    line = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit.stdout.strip() + ("+" if dirty else ""),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "fsync_ms": round(fsync_ms(folder), 2),
        "figures": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    sys.stdout.write(json.dumps(line, indent=2) + "\n")
