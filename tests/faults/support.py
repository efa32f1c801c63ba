"""What the tests of faults share: counts that must add up, refusals, and a run with an act in its middle."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import app, common
from tests.projects import Done, Folder

REPOSITORY = Path(__file__).resolve().parents[2]
KINDS = ("read", "accepted", "quarantined", "duplicates")
TOTALS = "SELECT date, city, total_sales, deals FROM by_city ORDER BY 1, 2"
KOELN = ("2026-03-01", "Köln")


def sources(folder: Folder) -> dict[str, Any]:
    """Returns status by source; the counts of each must add up."""
    found = {s["name"]: s for s in folder.status()["sources"]}
    for name, s in found.items():
        assert s["read"] == s["accepted"] + s["quarantined"] + s["duplicates"], (name, s)
    return found


def counts(folder: Folder, source: str = "drops") -> tuple[int, int, int, int]:
    """Returns read, accepted, quarantined, duplicates of a source; they add up."""
    found = sources(folder)[source]
    read, accepted, quarantined, duplicates = (found[k] for k in KINDS)
    return read, accepted, quarantined, duplicates


def refusals(folder: Folder) -> list[tuple[str, ...]]:
    """Returns origin, position, rule and reason of what is in quarantine."""
    return folder.rows("SELECT origin, position, rule, reason FROM penstock.quarantine ORDER BY origin, id")


def run_with(folder: Folder, step: str, nth: int, act: str, *args: str, code: int | None = 0) -> Done:
    """Runs `run --until-caught-up`; at the nth `step` the Python statement `act` is executed within it."""
    command = [sys.executable, "-m", "tests.faults.launcher", step, str(nth), act, "--project", str(folder.root)]
    run = subprocess.run(
        [*command, "run", "--until-caught-up", *args],
        capture_output=True, text=True, check=False, timeout=120, cwd=REPOSITORY, env={**os.environ},
    )  # fmt: skip
    assert "Traceback" not in run.stdout + run.stderr, run.stderr
    assert code is None or run.returncode == code, (run.stdout, run.stderr)
    return Done(run.returncode, run.stdout, run.stderr)


def codes(done: Done) -> list[str]:
    """Returns the codes of the errors that a verb printed with --json."""
    return [e["code"] for e in json.loads(done.out)["errors"]]


def typed(folder: Folder, monkeypatch: pytest.MonkeyPatch, *args: str) -> tuple[int, str, str]:
    """Runs a command line in this process, as many of them would take long. Returns exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["penstock", "--project", str(folder.root), *args])
    monkeypatch.setattr(common.Globals, "current", common.Globals())
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = app._run()
    assert isinstance(out.buffer, io.BytesIO)
    text = out.buffer.getvalue().decode()
    assert "Traceback" not in text + err.getvalue()
    assert "PEN999" not in text + err.getvalue()
    return code, text, err.getvalue()
