"""Reads a case: one .sql file with a SELECT, the rows expected of it, and the same question in PostgreSQL's SQL.

    -- what it shows
    -- timezone: Europe/Berlin            (optional)
    SELECT ...
    -- postgres                           (optional: PostgreSQL's SQL with the same meaning)
    SELECT ...
    -- expect
    column type | column type
    value | value

The rows of the stream are those of sales.table. To add a case, add a file.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Case:
    name: str
    sql: str
    timezone: str
    postgres: str | None
    columns: tuple[tuple[str, str], ...]
    """(name, type as SqlType prints it)"""
    rows: tuple[tuple[str, ...], ...]


def read(path: Path) -> Case:
    sections: dict[str, list[str]] = {"select": [], "postgres": [], "expect": []}
    zone, section = "UTC", "select"
    for line in path.read_text(encoding="utf-8").splitlines():
        word = line.removeprefix("-- ").strip()
        if line.startswith("-- timezone:"):
            zone = word.removeprefix("timezone:").strip()
        elif line.startswith("-- ") and word in sections:
            section = word
        else:
            sections[section].append(line)
    table = [tuple(cell.strip() for cell in line.split("|")) for line in sections["expect"] if line.strip()]
    columns = tuple((c.split(maxsplit=1)[0], c.split(maxsplit=1)[1]) for c in table[0])
    select, postgres = "\n".join(sections["select"]), "\n".join(sections["postgres"]).strip()
    return Case(path.stem, select, zone, postgres or None, columns, tuple(sorted(table[1:])))


def all_cases() -> list[Case]:
    return [read(path) for path in sorted(FOLDER.glob("*.sql"))]


def sales_rows() -> list[tuple[str | None, ...]]:
    lines = (FOLDER / "sales.table").read_text(encoding="utf-8").splitlines()[1:]
    return [tuple(None if c.strip() == "NULL" else c.strip() for c in line.split("|")) for line in lines]


def shown(value: Any) -> str:
    """A value as cases write it."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime.datetime) and value.tzinfo:
        return value.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
    return str(value)
