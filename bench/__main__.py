"""`make bench`: every benchmark, one after another, each as a process of its own."""

from __future__ import annotations

import subprocess
import sys

RUNS = (
    ("bench.bulk",), ("bench.bulk", "--key"), ("bench.bulk", "--rows", "30000000"),
    ("bench.bulk", "--form", "parquet"), ("bench.bulk", "--form", "csv"),
    ("bench.latency",), ("bench.latency", "--key"), ("bench.serve_http",), ("bench.start",), ("bench.engine_steps",),
)  # fmt: skip

if __name__ == "__main__":
    for run in RUNS:
        subprocess.run([sys.executable, "-m", *run], check=True)
