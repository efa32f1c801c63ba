"""ARCHITECTURE.md is a walk a stranger follows: short, and every path in it exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_it_is_one_walk() -> None:
    assert len(TEXT.splitlines()) <= 200


def test_every_path_in_it_exists() -> None:
    paths = set(re.findall(r"\b(?:src|tests|docs|bench)/[\w./-]*\w", TEXT))
    assert len(paths) > 40
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_every_stage_is_on_the_way() -> None:
    stages = [
        p.name for p in (ROOT / "src/penstock").iterdir() if (p / "__init__.py").exists() and p.name != "templates"
    ]
    assert not [stage for stage in stages if f"src/penstock/{stage}/" not in TEXT]
