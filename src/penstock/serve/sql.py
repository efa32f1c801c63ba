"""SQL as text: how `:parameters` become numbered ones, where an offset is in its file, names and literals."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.errors import Place
from penstock.project.parameters import ParameterMark, split_parameters


def parameter_names(sql: str) -> tuple[str, ...]:
    """Returns the names of the parameters in `sql`, each once, in the order of their first use."""
    return tuple(dict.fromkeys(p.name for p in split_parameters(sql) if isinstance(p, ParameterMark)))


def numbered(sql: str, types: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Returns `sql` with each `:name` as `($n::type)`, and the names in the order of their numbers.

    `types` gives each name's PostgreSQL type; a name used twice has one number. Raises KeyError for others.
    """
    order = parameter_names(sql)
    return "".join(_written(piece, types, order) for piece in split_parameters(sql)), order


def _written(piece: str | ParameterMark, types: Mapping[str, str], order: tuple[str, ...]) -> str:
    return piece if isinstance(piece, str) else f"(${order.index(piece.name) + 1}::{types[piece.name]})"


def source_offset(sql: str, types: Mapping[str, str], offset: int) -> int:
    """Returns the offset in `sql` that `offset` of the numbered statement came from."""
    order = parameter_names(sql)
    written = source = 0
    for piece in split_parameters(sql):
        width = len(_written(piece, types, order))
        if offset < written + width:
            return source + (offset - written if isinstance(piece, str) else 0)
        written += width
        source += len(piece) if isinstance(piece, str) else len(piece.name) + 1
    return source


def place_of(place: Place, sql: str, sql_line: int, offset: int) -> Place:
    """Returns the place in the file of `offset` in its `sql`, which begins on line `sql_line`."""
    before = sql[:offset]
    return Place(place.file, sql_line + before.count("\n"), offset - (before.rfind("\n") + 1) + 1)


def quoted(name: str) -> str:
    """Returns `name` as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Returns `text` as a string literal."""
    return "'" + text.replace("'", "''") + "'"
