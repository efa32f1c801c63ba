"""The built wheel in an empty environment with no checkout: what a user gets from `pip install penstock`."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds the wheel and its pinned dependencies alone."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", str(ROOT / "requirements/run.lock")], check=True)
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    return folder / "venv" / "bin"


def environment(home: Path) -> Mapping[str, str]:
    """Nothing of the checkout: no PYTHONPATH, another home."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}


def penstock(installed: Path, cwd: Path, *args: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(installed / "penstock"), *args],
        cwd=cwd, env=environment(cwd), capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, f"penstock {' '.join(args)}:\n{done.stdout}\n{done.stderr}"
    return done


def test_init_run_query(installed: Path, tmp_path: Path) -> None:
    penstock(installed, tmp_path, "init", "mine")
    mine = tmp_path / "mine"
    penstock(installed, mine, "validate")
    penstock(installed, mine, "run", "--until-caught-up")
    asked = penstock(installed, mine, "query", "--format", "csv", "SELECT count(*) FROM sales_by_city")
    assert int(asked.stdout.split()[-1]) > 0


def test_demo_ends_by_itself_with_a_summary(installed: Path, tmp_path: Path) -> None:
    done = penstock(installed, tmp_path, "demo", "--for", "20s")
    told = done.stdout + done.stderr
    assert "top_sales_by_city" in told
    assert "accepted" in told
    assert "serving on http://127.0.0.1" in told
