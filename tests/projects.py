"""Project folders for tests, and the command line run on them as a user would."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.cli import common
from penstock.cli.app import main

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
      - {name: amount, logicalType: number, physicalType: "decimal(12,2)", required: true}
      - {name: city, logicalType: string, required: true, logicalTypeOptions: {minLength: 1}}
"""
CITY = """SELECT CAST(sold_at AS DATE) AS date, city, CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales,
       count(*) AS deals
FROM sales
GROUP BY date, city
"""
DROPS = "type: files\nstream: sales\npath: drops\nmatch: '*'\nevery: 100ms\nready: {stable_for: 0s}\n"
ENDPOINT = """/*
path: /api/v1/cities
parameters:
  date: {type: string, format: date, required: true}
*/
SELECT date, city, total_sales, deals FROM by_city WHERE date = :date ORDER BY total_sales DESC, city
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


LOOKING = ("query", "status", "validate", "explain", "export", "store")


def in_process(*args: str) -> Done:
    """Runs the command line within this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in "oe")
    before, sys.argv = sys.argv, ["penstock", *args]
    common.Globals.current = common.Globals()
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv = before
    assert isinstance(code, int)
    texts = []
    for stream in (out, err):
        stream.flush()
        stream.seek(0)
        texts.append(stream.read())
    return Done(code, *texts)


@dataclass(frozen=True)
class Folder:
    """A project folder of a test."""

    root: Path

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def drop(self, name: str, *lines: str, header: str = "sale_id,sold_at,amount,city") -> Path:
        """Drops a CSV file, whole at once."""
        part = self.write(f".parts/{name}", "\n".join([header, *lines]) + "\n")
        target = self.root / "drops" / name
        target.parent.mkdir(exist_ok=True)
        part.rename(target)
        return target

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "penstock", "--project", str(self.root), *args]

    def penstock(self, *args: str, code: int | None = 0, timeout: float = 120) -> Done:
        """Runs a verb to its end; its exit code must be `code` (None: any). No traceback may show, whatever happens.

        Verbs that only look are run within this process: starting one costs a second.
        """
        if args[0] in LOOKING:
            done = in_process("--project", str(self.root), *args)
        else:
            run = subprocess.run(
                self.command(*args), capture_output=True, text=True, check=False, timeout=timeout, env={**os.environ}
            )
            done = Done(run.returncode, run.stdout, run.stderr)
        assert "Traceback" not in done.out + done.err, done.err
        assert code is None or done.code == code, f"penstock {' '.join(args)}: {done}"
        return done

    def start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def caught_up(self, *args: str, code: int = 0) -> Done:
        return self.penstock("run", "--until-caught-up", "--quiet", *args, code=code)

    def rows(self, sql: str) -> list[tuple[str, ...]]:
        done = self.penstock("query", "--format", "csv", sql)
        return [tuple(row) for row in csv.reader(io.StringIO(done.out))][1:]

    def status(self) -> Any:
        return self.penstock("status", "--json").json


def sales_folder(root: Path, store: str, **files: str) -> Folder:
    """A small sales project over file drops, its store at the URL `store`. `files` replace or add: name -> text."""
    folder = Folder(root)
    folder.write("penstock.yaml", 'name: little\nstore: "${STORE}"\nserve: {port: 0}\n')
    folder.write(".env", f"STORE={store}\n")
    folder.write("contracts/sales.odcs.yaml", CONTRACT)
    folder.write("sources/drops.yaml", DROPS)
    folder.write("pipelines/by_city.sql", CITY)
    folder.write("endpoints/cities.sql", ENDPOINT)
    (root / "drops").mkdir()
    for name, text in files.items():
        folder.write(name, text)
    return folder
