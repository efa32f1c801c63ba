"""A .sql file of the project: an opening comment that holds YAML, then one SELECT.

The SQL keeps its lines and columns: `Sql.line` is the file's line on which it begins, and where it begins in the
middle of a line, blanks stand in for what is before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from penstock.errors import Place
from penstock.project.errors import NoSelect
from penstock.project.yamlfile import Document, Node, Problems, parse_yaml

_BEFORE = re.compile(r"(?:\s+|--[^\n]*(?:\n|$))*")
"""Blanks and line comments, which may stand before the header."""


@dataclass(frozen=True)
class Sql:
    """The header's tree (an empty mapping without one) and the SQL after it."""

    header: Document
    text: str
    line: int


def split_sql(text: str, file: str, problems: Problems) -> Sql | None:
    """Returns header and SQL of a file, or None after adding what is wrong to `problems`."""
    start = _match_end(text)
    header: Document | None = Document(file, Node("mapping", 1, 1))
    after = 0
    if text.startswith("/*", start):
        end = text.find("*/", start + 2)
        line, column = _position(text, start)
        if end < 0:
            problems.error(
                NoSelect("the opening comment has no end", hint="close it with */", place=Place(file, line, column))
            )
            return None
        after = end + 2
        header = _header(text[start + 2 : end], file, (line, column), problems)
    body = text[after:]
    stripped = body.rstrip().removesuffix(";").rstrip()
    begin = after + len(body) - len(body.lstrip())
    line, column = _position(text, begin)
    if not re.sub(r"--[^\n]*", "", stripped).strip():
        problems.error(
            NoSelect(
                "no SELECT stands in the file",
                hint="write one SELECT below the header",
                place=Place(file, line, column),
            )
        )
        return None
    sql = " " * (column - 1) + stripped.lstrip()
    return Sql(header, sql, line) if header is not None else None


def _match_end(text: str) -> int:
    match = _BEFORE.match(text)
    return match.end() if match else 0


def _position(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _header(text: str, file: str, at: tuple[int, int], problems: Problems) -> Document | None:
    line, column = at
    document = parse_yaml(text, file, problems, line=line - 1, column=column + 1)
    if document is None or document.root.kind == "mapping":
        return document
    if document.root.kind == "scalar" and document.root.value is None:
        return Document(file, Node("mapping", line, column))
    hint = "write `key: value` lines in it, or use -- for other comments"
    problems.error(
        NoSelect("the opening comment does not hold keys and values", hint=hint, place=Place(file, line, column))
    )
    return None


def parse_order(text: str) -> tuple[str, bool]:
    """Returns (column, descending) of `total_sales desc`. Raises ValueError."""
    match = re.fullmatch(r'\s*(?:"((?:[^"]|"")+)"|([A-Za-z_]\w*))(?:\s+(asc|desc))?\s*', text, re.IGNORECASE)
    if match is None:
        msg = "should be a column, with desc or asc after it or not"
        raise ValueError(msg)
    name = match[1].replace('""', '"') if match[1] else match[2]
    return name, (match[3] or "").lower() == "desc"
