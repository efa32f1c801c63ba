"""Where in the pipeline's file a piece of SQL stands."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate

from sqlglot import exp
from sqlglot.errors import ErrorLevel

from penstock.errors import Place
from penstock.project.model import PipelineFile

_CALL = re.compile(r"[A-Za-z_]\w*\s*\([\s(]*(?:DISTINCT[\s(]+)?\Z", re.IGNORECASE)
"""The name of a function right before its first argument: sqlglot keeps no place for some functions."""


def said(sql: exp.Expr) -> str:
    """Returns a piece of SQL as text for a message, on one line."""
    return sql.sql(dialect="duckdb", comments=False, unsupported_level=ErrorLevel.IGNORE)


class Places:
    """Turns offsets into the SQL text of one pipeline into places of its file."""

    def __init__(self, pipeline: PipelineFile) -> None:
        self._file = pipeline.place.file
        self._first_line = pipeline.sql_line
        self._sql = pipeline.sql
        lines = pipeline.sql.split("\n")
        self._starts = [0, *accumulate(len(line) + 1 for line in lines)]

    def at(self, offset: int) -> Place:
        """Returns the place of a 0-based offset into the SQL."""
        line = bisect_right(self._starts, offset) - 1
        return Place(self._file, self._first_line + line, offset - self._starts[line] + 1)

    def line_column(self, line: int, column: int) -> Place:
        """Returns the place of a 1-based line and column of the SQL."""
        return Place(self._file, self._first_line + line - 1, column)

    def of(self, node: exp.Expr) -> Place:
        """Returns where a node begins: the first of its tokens whose offset sqlglot has kept."""
        offsets = [n.meta["start"] for n in node.walk() if "start" in n.meta]
        if not offsets:
            return Place(self._file, self._first_line, 1)
        first = min(offsets)
        if isinstance(node, exp.Func) and (call := _CALL.search(self._sql, 0, first)):
            first = call.start()
        return self.at(first)
