"""`:name` parameters in an endpoint's SQL, told apart from casts (`::`), strings, comments and quoted names.

Reads PostgreSQL's lexical rules: `'...'` with doubled quotes, `E'...'` with backslashes, `"..."`, `$tag$...$tag$`,
`--` and nested `/* */` comments, `:=`, and array slices such as `a[1:2]` (a parameter's name begins with a letter or
underscore and no name or closing bracket stands right before its colon).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<line>--[^\n]*)
  | (?P<block>/\*)
  | (?P<escaped>\b[eE]'(?:[^'\\]|\\.|'')*')
  | (?P<string>'(?:[^']|'')*')
  | (?P<quoted>"(?:[^"]|"")*")
  | (?P<dollar>(?<![\w$])\$(?P<tag>(?:[A-Za-z_\u0080-\uffff][\w]*)?)\$.*?\$(?P=tag)\$)
  | (?P<cast>::|:=)
  | (?<![\w\])]):(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class ParameterMark:
    """A parameter in SQL: its name, and the index of its colon in the text."""

    name: str
    at: int


Piece = str | ParameterMark


def split_parameters(sql: str) -> list[Piece]:
    """Returns the SQL as texts and parameters in order; the texts and `:name`s joined are the SQL again."""
    pieces: list[Piece] = []
    begin = at = 0
    while match := _TOKEN.search(sql, at):
        at = match.end()
        if match["block"]:
            at = _comment_end(sql, at)
        elif match["name"]:
            pieces += [sql[begin : match.start()], ParameterMark(match["name"], match.start())]
            begin = at
    pieces.append(sql[begin:])
    return pieces


def _comment_end(sql: str, at: int) -> int:
    """Returns the index after the comment whose inside begins at `at`; comments nest."""
    depth = 1
    for match in re.finditer(r"/\*|\*/", sql[at:]):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return at + match.end()
    return len(sql)
