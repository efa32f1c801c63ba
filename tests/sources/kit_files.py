"""The conformance kit of `files`: a folder into which each addition drops one file of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.kit import Row, SourceKit


class Kit(SourceKit):
    count = 0

    def __init__(self, request: pytest.FixtureRequest, root: Path) -> None:
        super().__init__(request, root)
        (root / "drops").mkdir()

    def config(self) -> Mapping[str, Any]:
        return {"path": "drops", "ready": {"stable_for": "0s"}}

    def add(self, rows: Sequence[Row]) -> None:
        self.count += 1
        path = self.root / "drops" / f"{self.count:04}.jsonl"
        path.write_text("".join(f"{_line(row)}\n" for row in rows), encoding="utf-8")

    def vanish(self) -> None:
        (self.root / "drops").rename(self.root / "away")

    def come_back(self) -> None:
        (self.root / "away").rename(self.root / "drops")


def _line(row: Row) -> str:
    """Numbers are written as they stand."""
    parts = (f"{json.dumps(n)}: {v if n in ('id', 'amount') and v else json.dumps(v)}" for n, v in row.items())
    return "{" + ", ".join(parts) + "}"
