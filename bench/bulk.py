"""Benchmark 1: 10 M sales in 8 files to both tables in the store, beside a plain DuckDB script over the same files.

`python -m bench.bulk [--rows N] [--form jsonl|csv|parquet] [--key]`
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.common import CITY, SALESMEN, penstock, record, timed_run, write_project, write_sales

SCRIPT = """
import duckdb, sys
form, folder, out = sys.argv[1:]
con = duckdb.connect()
con.execute("SET TimeZone='UTC'")
types = {'sale_id': 'VARCHAR', 'sold_at': 'TIMESTAMPTZ', 'amount': 'DECIMAL(12,2)', 'city': 'VARCHAR',
         'salesman_id': 'VARCHAR', 'salesman_name': 'VARCHAR', 'customer_email': 'VARCHAR', 'channel': 'VARCHAR'}
columns = '{' + ', '.join(f"{k}: '{v}'" for k, v in types.items()) + '}'
reader = {'jsonl': f"read_json('{folder}/*.jsonl', format='newline_delimited', columns={columns})",
          'csv': f"read_csv('{folder}/*.csv', header=true, columns={columns})",
          'parquet': "(SELECT * REPLACE (sold_at::TIMESTAMPTZ AS sold_at)"
                     f" FROM read_parquet('{folder}/*.parquet'))"}[form]
con.execute(f"CREATE VIEW sales AS SELECT * FROM {reader}")
"""


def script(one_pass: bool) -> str:
    """The yardstick: both results to CSV files. A scan into a table first, or one for each; the faster counts."""
    source = SCRIPT
    if one_pass:
        source += (
            'con.execute("CREATE TABLE t AS SELECT * FROM sales; DROP VIEW sales; ALTER TABLE t RENAME TO sales")\n'
        )
    for name, sql in (("city", CITY), ("salesmen", SALESMEN)):
        source += f'con.execute("""COPY ({sql}) TO \'""" + out + """/{name}.csv\'""")\n'
    return source


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--form", default="jsonl", choices=["jsonl", "csv", "parquet"])
    parser.add_argument("--key", action="store_true")
    parser.add_argument("--repeat", type=int, default=1)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    try:
        write_sales(folder / "data", args.rows, 8, args.form)
        for _ in range(args.repeat):
            yardsticks = []
            for one_pass in (True, False):
                command = [sys.executable, "-c", script(one_pass), args.form, str(folder / "data"), str(folder)]
                yardsticks.append(timed_run(command)[0])
            shutil.rmtree(folder / "project", ignore_errors=True)
            write_project(folder / "project", args.form, key=args.key)
            (folder / "project/drops").rmdir()
            (folder / "project/drops").symlink_to(folder / "data", target_is_directory=True)
            seconds, memory = timed_run(penstock("--project", str(folder / "project"), "run", "--until-caught-up"))
            shown = subprocess.run(
                penstock("--project", str(folder / "project"), "query", "--format", "csv",
                         "SELECT sum(transaction_count) FROM top_sales_by_city"),
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            counted = int(shown.stdout.split()[-1])
            if counted != args.rows:
                raise SystemExit(f"{counted} rows counted, {args.rows} expected")
            yardstick = min(yardsticks)
            record(
                "bulk",
                {
                    "form": args.form, "key": args.key, "rows": args.rows,
                    "yardstick_s": round(yardstick, 2), "penstock_s": round(seconds, 2),
                    "ratio": round(yardstick / seconds, 3), "rows_per_s": round(args.rows / seconds),
                    "peak_mib": round(memory.own), "postgres_mib": round(memory.postgres),
                },
                folder,
            )  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
