"""Real data that is not ours: Northwind, Chinook and TPC-H, kept through every source, against plain SQL.

Each data set is loaded into a real PostgreSQL. The example project keeps both answers from it through the `postgres`
source; then the same rows, exported as CSV, JSON lines and Parquet, are kept through the `files` source. Every row of
both answers must equal what plain SQL says in the database the data came from.
"""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psycopg
import pytest
from ruamel.yaml import YAML

pytestmark = [pytest.mark.slow]
ROOT = Path(__file__).parent.parent.parent

CITY = """SELECT sold_at::date AS date, city, sum(amount)::numeric(15,2), count(*), avg(amount)::numeric(15,2),
       max(amount)::numeric(15,2) FROM ({sales}) s GROUP BY 1, 2 ORDER BY 1, city COLLATE "C" """
SALESMEN = """SELECT * FROM (
  SELECT sold_at::date AS date, salesman_id, (array_agg(salesman_name ORDER BY sold_at DESC, {key_desc}))[1],
         sum(amount)::numeric(15,2), count(*), avg(amount)::numeric(15,2), count(DISTINCT city),
         rank() OVER (PARTITION BY sold_at::date ORDER BY sum(amount) DESC) AS rank
  FROM ({sales}) s GROUP BY 1, 2) r WHERE rank <= 100 ORDER BY 1, 2"""
KEPT_CITY = """SELECT date, city, total_sales, transaction_count, avg_sale, max_sale FROM top_sales_by_city
ORDER BY date, city COLLATE "C" """
KEPT_SALESMEN = """SELECT date, salesman_id, salesman_name, total_sales, deals_closed, avg_deal_size, cities_covered,
       rank FROM top_salesmen ORDER BY date, salesman_id"""

TPCH = """
CREATE TABLE customer (c_custkey bigint, c_name text, c_address text, c_nationkey int, c_phone text,
  c_acctbal numeric(15,2), c_mktsegment text, c_comment text);
CREATE TABLE orders (o_orderkey bigint, o_custkey bigint, o_orderstatus text, o_totalprice numeric(15,2),
  o_orderdate date, o_orderpriority text, o_clerk text, o_shippriority int, o_comment text);
CREATE TABLE lineitem (l_orderkey bigint, l_partkey bigint, l_suppkey bigint, l_linenumber int,
  l_quantity numeric(15,2), l_extendedprice numeric(15,2), l_discount numeric(15,2), l_tax numeric(15,2),
  l_returnflag text, l_linestatus text, l_shipdate date, l_commitdate date, l_receiptdate date,
  l_shipinstruct text, l_shipmode text, l_comment text);
"""


@dataclass(frozen=True)
class Example:
    """An example project and the database its data was loaded into."""

    name: str
    url: str
    key: tuple[str, ...]

    @property
    def query(self) -> str:
        """The example's own source query: the rows that every way in must agree on."""
        source = YAML(typ="safe").load((ROOT / "examples" / self.name / "sources/database.yaml").read_text())
        return str(source["query"])

    def truth(self, sql: str) -> list[tuple[str, ...]]:
        with psycopg.connect(self.url) as con:
            asked = sql.format(sales=self.query, key_desc=", ".join(f"{k} DESC" for k in self.key))
            return [tuple(str(v) for v in row) for row in con.execute(asked).fetchall()]


def load_dump(url: str, path: Path, drop: tuple[str, ...] = ()) -> None:
    """Runs a psql script of plain statements, without those lines that begin with one of `drop`."""
    lines = [ln for ln in path.read_text(encoding="utf-8").splitlines() if not ln.startswith(drop)] if drop else None
    text = "\n".join(lines) if lines is not None else path.read_text(encoding="utf-8")
    with psycopg.connect(url, autocommit=True) as con:
        con.execute(text.encode())


SHARED_SETS = [pytest.param(name, marks=pytest.mark.shared) for name in ("northwind", "chinook")]


@pytest.fixture(params=[*SHARED_SETS, "tpch"])
def example(request: pytest.FixtureRequest, fresh_database: str, tmp_path: Path, shared: Path) -> Iterator[Example]:
    name = request.param
    if name == "tpch":
        command = [str(Path(sys.executable).parent / "tpchgen-cli"), "csv", "-s", "0.01", "--output-dir", str(tmp_path)]
        subprocess.run([*command, "--tables=lineitem,orders,customer"], check=True, capture_output=True)
        with psycopg.connect(fresh_database) as con:
            con.execute(TPCH)
            for table in ("customer", "orders", "lineitem"):
                with con.cursor().copy(f"COPY {table} FROM STDIN (FORMAT csv, HEADER)") as copy:
                    copy.write((tmp_path / f"{table}.csv").read_bytes())
        yield Example(name, fresh_database, ("l_orderkey", "l_linenumber"))
        return
    if name == "northwind":
        load_dump(fresh_database, shared / "data/northwind/northwind.sql")
        yield Example(name, fresh_database, ("order_id", "product_id"))
    else:
        load_dump(
            fresh_database, shared / "data/chinook/Chinook_PostgreSql.sql", ("DROP DATABASE", "CREATE DATABASE", "\\c")
        )
        yield Example(name, fresh_database, ("invoice_id",))


def penstock(project: Path, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "--project", str(project), *args],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, f"penstock {' '.join(args)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def kept(project: Path, sql: str) -> list[tuple[str, ...]]:
    rows = list(csv.reader(io.StringIO(penstock(project, "query", "--format", "csv", sql))))
    return [tuple(row) for row in rows[1:]]


def check(project: Path, example: Example) -> None:
    penstock(project, "run", "--until-caught-up", "--no-serve")
    for mine, theirs in ((KEPT_CITY, CITY), (KEPT_SALESMEN, SALESMEN)):
        got, want = kept(project, mine), example.truth(theirs)
        assert len(want) > 100
        assert got == want


def test_through_the_database(example: Example, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT / "examples" / example.name, project)
    (project / ".env").write_text(f"{example.name.upper()}_DB={example.url}\n")
    check(project, example)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_through_files(example: Example, tmp_path: Path, form: str) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT / "examples" / example.name, project)
    (project / "sources/database.yaml").unlink()
    (project / "sources/drops.yaml").write_text(
        "type: files\nstream: sales\npath: drops\nmatch: '*'\nready: {stable_for: 0s}\n"
    )
    (project / "drops").mkdir()
    export(example, project / "drops", form)
    check(project, example)


def export(example: Example, folder: Path, form: str) -> None:
    """Writes the rows of the example's query to three files of `form`, decimals with all their digits."""
    with (
        psycopg.connect(example.url) as con,
        con.cursor().copy(f"COPY ({example.query}) TO STDOUT (FORMAT csv, HEADER)") as copy,
        (folder / "all.csv").open("wb") as file,
    ):
        file.writelines(copy)
    if form == "csv":
        return
    con2 = duckdb.connect()
    amounts = "* REPLACE (CAST(amount AS DECIMAL(15,2)) AS amount)"
    options = "FORMAT json" if form == "jsonl" else "FORMAT parquet"
    con2.execute(
        f"COPY (SELECT {amounts} FROM read_csv('{folder}/all.csv', types={{'amount': 'VARCHAR'}}))"
        f" TO '{folder}/all.{form}' ({options})"
    )
    con2.close()
    (folder / "all.csv").unlink()
