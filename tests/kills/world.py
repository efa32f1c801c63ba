"""A small world for kill tests: a shop database and file drops that grow, and what the answers must be.

Sales are made up by seed. The truth is kept in a table of its own in the test's PostgreSQL and asked by plain SQL; it
shares no code with the product.
"""

from __future__ import annotations

import csv
import json
import os
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

CONTRACT = """apiVersion: v3.1.0
kind: DataContract
id: sales
version: 1.0.0
status: active
schema:
  - name: sales
    logicalType: object
    customProperties:
      - {property: eventTime, value: sold_at}
      - {property: allowedLateness, value: 1h}
    properties:
      - {name: sale_id, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: sold_at, logicalType: timestamp, required: true}
      - name: amount
        logicalType: number
        physicalType: "decimal(12,2)"
        required: true
        logicalTypeOptions: {minimum: 0}
      - {name: city, logicalType: string, required: true, logicalTypeOptions: {minLength: 1, maxLength: 100}}
      - {name: salesman_id, logicalType: string, required: true}
      - {name: salesman_name, logicalType: string, required: true}
"""
CITY = """/*
late: restate
*/
SELECT CAST(sold_at AS DATE) AS date, city, CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales,
       count(*) AS transaction_count, CAST(avg(amount) AS DECIMAL(15,2)) AS avg_sale,
       CAST(max(amount) AS DECIMAL(15,2)) AS max_sale
FROM sales
GROUP BY date, city
"""
SALESMEN = """/*
indexes: [[salesman_id, date], [rank]]
*/
SELECT CAST(sold_at AS DATE) AS date, salesman_id, arg_max(salesman_name, (sold_at, sale_id)) AS salesman_name,
       CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales, count(*) AS deals_closed,
       CAST(avg(amount) AS DECIMAL(15,2)) AS avg_deal_size, count(DISTINCT city) AS cities_covered,
       rank() OVER (PARTITION BY date ORDER BY total_sales DESC) AS rank
FROM sales
GROUP BY date, salesman_id
QUALIFY rank <= 100
"""
SHOP = """type: postgres
stream: sales
connection: "${SHOP_DB}"
table: orders
mode: incrementing
incrementing_column: id
every: 100ms
fields: {sale_id: "'db-' || id"}
"""
DROPS = """type: files
stream: sales
path: drops
match: "**/*"
every: 100ms
ready: {stable_for: 0s}
fields: {sale_id: "'f-' || nr"}
"""
TRUTH_CITY = """
SELECT (sold_at AT TIME ZONE 'UTC')::date AS date, city, sum(amount)::numeric(15,2), count(*),
       avg(amount)::numeric(15,2), max(amount)::numeric(15,2)
FROM truth GROUP BY 1, 2 ORDER BY 1, 2
"""
TRUTH_SALESMEN = """
SELECT * FROM (
  SELECT (sold_at AT TIME ZONE 'UTC')::date AS date, salesman_id,
         (array_agg(salesman_name ORDER BY sold_at DESC, sale_id COLLATE "C" DESC))[1],
         sum(amount)::numeric(15,2), count(*), avg(amount)::numeric(15,2), count(DISTINCT city),
         rank() OVER (PARTITION BY (sold_at AT TIME ZONE 'UTC')::date ORDER BY sum(amount) DESC) AS rank
  FROM truth GROUP BY 1, 2) r
WHERE rank <= 100 ORDER BY 1, 2
"""
COLUMNS = "sold_at, amount, city, salesman_id, salesman_name"
Row = dict[str, Any]


@dataclass
class World:
    """The project folder, its shop database, and everything that was produced for it."""

    root: Path
    shop: str
    seed: int
    now: datetime = datetime(2026, 3, 1, tzinfo=UTC)
    number: int = 0
    files: int = 0
    broken: int = 0
    repeated: int = 0
    in_shop: int = 0
    in_files: int = 0
    random: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self.random.seed(self.seed)
        for folder in ("contracts", "sources", "pipelines", "drops"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "penstock.yaml").write_text("name: kills\n")
        (self.root / "contracts/sales.odcs.yaml").write_text(CONTRACT)
        (self.root / "sources/shop.yaml").write_text(SHOP)
        (self.root / "sources/drops.yaml").write_text(DROPS)
        (self.root / "pipelines/top_sales_by_city.sql").write_text(CITY)
        (self.root / "pipelines/top_salesmen.sql").write_text(SALESMEN)
        (self.root / "pipelines/on_time.sql").write_text(CITY.replace("late: restate", "late: set_aside"))
        (self.root / ".env").write_text(f"SHOP_DB={self.shop}\n")
        os.chmod(self.root / ".env", 0o600)
        with psycopg.connect(self.shop, autocommit=True) as con:
            con.execute(
                "CREATE TABLE orders (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, sold_at timestamptz,"
                " amount numeric, city text, salesman_id text, salesman_name text)"
            )
            con.execute(
                "CREATE TABLE truth (sale_id text, sold_at timestamptz, amount numeric, city text, salesman_id text,"
                " salesman_name text)"
            )

    def sale(self) -> Row:
        """One sale, at most a day behind the newest, so that late ones are among them."""
        r = self.random
        self.number += 1
        self.now += timedelta(seconds=r.randrange(1, 240))
        behind = timedelta(seconds=r.randrange(0, 86400)) if r.random() < 0.05 else timedelta(0)
        seller = r.randrange(150)
        return {
            "sold_at": self.now - behind,
            "amount": Decimal(r.randrange(1, 100_000)) / 100,
            "city": r.choice(["Köln", "São Paulo", "Århus", "Lyon", "O'Fallon", 'Qu"ote', "Łódź"]),
            "salesman_id": f"m{seller}",
            "salesman_name": f"Seller {seller}, {r.choice('abc')}",
        }

    def insert(self, rows: int) -> None:
        """Orders committed in the shop database, together with their truth."""
        with psycopg.connect(self.shop) as con:
            for _ in range(rows):
                sale = self.sale()
                values = (sale["sold_at"], sale["amount"], sale["city"], sale["salesman_id"], sale["salesman_name"])
                got = con.execute(
                    f"INSERT INTO orders ({COLUMNS}) VALUES (%s, %s, %s, %s, %s) RETURNING id", values
                ).fetchone()
                assert got
                con.execute(
                    f"INSERT INTO truth (sale_id, {COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s)", (f"db-{got[0]}", *values)
                )
        self.in_shop += rows

    def drop(self, rows: int) -> None:
        """One file of sales with a broken row and a repeated one, moved into place when whole."""
        sales = [(self.number, self.sale()) for _ in range(rows)]
        with (
            psycopg.connect(self.shop) as con,
            con.cursor().copy(f"COPY truth (sale_id, {COLUMNS}) FROM STDIN") as copy,
        ):
            for nr, s in sales:
                copy.write_row((f"f-{nr}", s["sold_at"], s["amount"], s["city"], s["salesman_id"], s["salesman_name"]))
        form = self.random.choice(["csv", "jsonl", "parquet"])
        self.files += 1
        part = self.root / f".part-{self.files}"
        records = [{"nr": nr, **s} for nr, s in sales]
        records.append(dict(records[0]))
        records.append({**records[0], "nr": 10_000_000 + self.files, "city": ""})
        getattr(self, f"_write_{form}")(part, records)
        self.repeated += 1
        self.broken += 1
        self.in_files += len(records)
        part.rename(self.root / "drops" / f"sales-{self.files:05}.{form}")

    def _write_csv(self, path: Path, records: list[Row]) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, records[0].keys(), quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows({**r, "sold_at": r["sold_at"].isoformat()} for r in records)

    def _write_jsonl(self, path: Path, records: list[Row]) -> None:
        lines = (json.dumps({**r, "sold_at": r["sold_at"].isoformat(), "amount": "@"}) for r in records)
        texts = (line.replace('"@"', str(r["amount"])) for line, r in zip(lines, records, strict=True))
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")

    def _write_parquet(self, path: Path, records: list[Row]) -> None:
        schema = pa.schema(
            {
                "nr": pa.int64(), "sold_at": pa.timestamp("us", tz="UTC"), "amount": pa.decimal128(12, 2),
                "city": pa.string(), "salesman_id": pa.string(), "salesman_name": pa.string(),
            }
        )  # fmt: skip
        pq.write_table(pa.Table.from_pylist(records, schema=schema), path)

    def truth(self, query: str) -> list[tuple[str, ...]]:
        with psycopg.connect(self.shop) as con:
            return [tuple(str(v) for v in row) for row in con.execute(query).fetchall()]
