"""Benchmark 2: with N rows of history, one more batch of 10 k rows of the newest day, from read to committed answer.

`python -m bench.latency [--history N] [--batches N] [--key]` runs with that history and with none, and prints p50 and
p99 of both in milliseconds. The clock starts when the round that finds the file begins and stops when both pipelines
have committed the answer that holds it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import duckdb

from bench.common import penstock, percentile, record, sales_sql, timed_run, write_project, write_sales

BATCH = 10_000
WARM_UP = 10
PER_DAY = 330_000
TOLD = ("source.round", "BatchKept", "PipelineAdvanced")

LAUNCHER = """
import json, sys, time
from penstock.cli.app import main
from penstock.observe import subscribe
def tell(o):
    name = getattr(o, "name", "") if type(o).__name__ == "Step" else type(o).__name__
    if name in %r:
        sys.stdout.write(json.dumps({"t": time.perf_counter(), "event": name, "rows": getattr(o, "accepted", 0),
                                     "of": getattr(o, "pipeline", ""), "at": getattr(o, "position", 0)}) + "\\n")
        sys.stdout.flush()
subscribe(tell)
sys.argv = ["penstock", *sys.argv[1:]]
main()
"""


def batches(folder: Path, first: int, count: int) -> list[Path]:
    """Writes `count` files of BATCH sales each, numbered from `first` on, all of the newest day."""
    folder.mkdir()
    con = duckdb.connect()
    paths = []
    for i in range(count):
        path = folder / f"batch-{i:04}.jsonl"
        con.execute(f"COPY ({sales_sql(BATCH, first + i * BATCH, PER_DAY)}) TO '{path}' (FORMAT json)")
        paths.append(path)
    con.close()
    return paths


def heard(out: IO[str]) -> Iterator[dict[str, object]]:
    for line in out:
        if line.startswith("{"):
            yield json.loads(line)


def measure(root: Path, files: list[Path]) -> tuple[list[float], dict[str, list[float]]]:
    """Drops the files one after another. Returns the milliseconds of each and of its parts."""
    command = [sys.executable, "-c", LAUNCHER % (TOLD,), "--project", str(root), "run", "--no-serve", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    events = heard(process.stdout)
    totals: list[float] = []
    parts: dict[str, list[float]] = {"to_log": [], "first_answer": [], "second_answer": []}
    next(events)
    for path in files:
        path.rename(root / "drops" / path.name)
        began = kept = 0.0
        at = -1
        done: dict[str, float] = {}
        while len(done) < 2:
            event = next(events)
            moment = float(str(event["t"])) * 1000
            if event["event"] == "source.round" and at < 0:
                began = moment
            elif event["event"] == "BatchKept" and event["rows"] == BATCH:
                kept, at = moment, int(str(event["at"]))
            elif event["event"] == "PipelineAdvanced" and 0 < at <= int(str(event["at"])):
                done.setdefault(str(event["of"]), moment)
        totals.append(max(done.values()) - began)
        parts["to_log"].append(kept - began)
        for name, moment in zip(("first_answer", "second_answer"), sorted(done.values()), strict=True):
            parts[name].append(moment - kept)
        time.sleep(0.05)
    process.terminate()
    process.wait()
    return totals[WARM_UP:], {k: v[WARM_UP:] for k, v in parts.items()}


def run(history: int, count: int, *, key: bool) -> dict[str, object]:
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    try:
        root = folder / "project"
        write_project(root, "jsonl", key=key, every="50ms")
        if history:
            write_sales(root / "drops", history, 8, "jsonl")
            timed_run(penstock("--project", str(root), "run", "--until-caught-up", "--quiet"))
        totals, parts = measure(root, batches(folder / "batches", history, count))
        medians = {name: round(percentile(v, 50), 1) for name, v in parts.items()}
        return {"p50_ms": round(percentile(totals, 50), 1), "p99_ms": round(percentile(totals, 99), 1), **medians}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--history", type=int, default=10_000_000)
    parser.add_argument("--batches", type=int, default=110)
    parser.add_argument("--key", action="store_true")
    args = parser.parse_args()
    empty = run(0, args.batches, key=args.key)
    full = run(args.history, args.batches, key=args.key)
    ratio = round(float(str(full["p50_ms"])) / float(str(empty["p50_ms"])), 2)
    figures = {"key": args.key, "history": args.history, "with_history": full, "without": empty, "ratio_p50": ratio}
    record("latency", figures, Path(tempfile.gettempdir()))


if __name__ == "__main__":
    main()
