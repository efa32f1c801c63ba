"""What `validate` can tell of an endpoint without a store, once the pipelines are planned: columns and paging.

That the SQL is one SELECT over known tables with declared parameters is found when the folder is read; PostgreSQL's own
verdict comes when the server starts (`catalogue.check_on_store`). Where a relation's columns cannot be known (a table
function, a table of another schema) nothing is claimed about them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, traverse_scope

from penstock.errors import PenstockError, Place, nearest
from penstock.plan.model import Plan
from penstock.project.model import EndpointFile
from penstock.project.parameters import split_parameters
from penstock.serve.errors import BadPaging, ColumnNotKnown, NotOneSelect

OWN_COLUMNS = ("id", "created_at", "updated_at")
"""What every result table has beside its SELECT's columns."""
_SYSTEM = {"ctid", "xmin", "xmax", "tableoid"}


def check_endpoint(endpoint: EndpointFile, plans: Mapping[str, Plan]) -> list[PenstockError]:
    """Returns what is wrong with the endpoint over the results of `plans`."""
    text = "".join(p if isinstance(p, str) else f"${p.name}" for p in split_parameters(endpoint.sql))
    try:
        tree = sqlglot.parse_one(text, read="postgres")
    except (SqlglotError, RecursionError, ValueError):
        return []  # told when the folder was read
    if not isinstance(tree, exp.Query):
        return []
    results = {name: {*(c.name for c in plan.columns), *OWN_COLUMNS} for name, plan in plans.items()}
    return [*_writes(endpoint, tree), *_columns(endpoint, tree, results), *_paging(endpoint, tree)]


def _place(endpoint: EndpointFile, node: exp.Expr) -> Place:
    part = node.this if isinstance(node.this, exp.Identifier) else node
    line, column = part.meta.get("line", 1), part.meta.get("col", 0)
    width = len(part.name) if isinstance(part, exp.Identifier) else 1
    return Place(endpoint.place.file, endpoint.sql_line + int(line) - 1, max(1, int(column) - width + 1))


def _writes(endpoint: EndpointFile, tree: exp.Query) -> Iterator[PenstockError]:
    for node in tree.find_all(exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Into, exp.Lock):
        words = {exp.Into: "SELECT INTO", exp.Lock: "a row lock"}.get(type(node), type(node).__name__.upper())
        place = Place(endpoint.place.file, endpoint.sql_line, 1)
        yield NotOneSelect(f"the statement holds {words}", hint="an endpoint only reads", place=place)


def _columns(endpoint: EndpointFile, tree: exp.Query, results: Mapping[str, set[str]]) -> Iterator[PenstockError]:
    for scope in traverse_scope(tree):
        known = {name: _columns_of(source, results) for name, source in _sources(scope).items()}
        if not any(columns is None for columns in known.values()):
            sure = {name: columns or set() for name, columns in known.items()}
            yield from _unknown_columns(endpoint, scope, sure)


def _unknown_columns(endpoint: EndpointFile, scope: Scope, known: Mapping[str, set[str]]) -> Iterator[PenstockError]:
    """Yields the columns in `scope` that none of the relations in `known` has."""
    query = scope.expression
    aliases = {s.alias for s in query.selects if s.alias} if isinstance(query, exp.Query) else set()
    anywhere = set().union(aliases, known, *known.values())
    for column in scope.columns:
        name = _folded(column.this)
        table = _folded(column.args["table"]) if column.args.get("table") else ""
        candidates = known.get(table, anywhere) if table else anywhere
        if name not in candidates | _SYSTEM | {"*"}:
            found = f"there is no column '{name}' in {table or ', '.join(sorted(known))}"
            yield ColumnNotKnown(found, hint=nearest(name, candidates), place=_place(endpoint, column))


def _sources(scope: Scope) -> dict[str, object]:
    """Returns the relations that a column in `scope` may be of: its own, and those of the queries around it."""
    found: dict[str, object] = {}
    at: Scope | None = scope
    while at is not None:
        for name, source in at.selected_sources.items():
            found.setdefault(name, source[1])
        at = at.parent
    return found


def _columns_of(source: object, results: Mapping[str, set[str]]) -> set[str] | None:
    """Returns a relation's columns; None when they cannot be known."""
    if isinstance(source, exp.Table):
        plain = isinstance(source.this, exp.Identifier) and not source.db
        return results.get(_folded(source.this)) if plain else None
    if isinstance(source, Scope) and isinstance(source.expression, exp.Query):
        if source.expression.is_star:
            return None
        return set(source.expression.named_selects)
    return None


def _folded(identifier: exp.Expr) -> str:
    """Returns a name as PostgreSQL takes it: lower case unless quoted."""
    return identifier.name if identifier.args.get("quoted") else identifier.name.lower()


def _paging(endpoint: EndpointFile, tree: exp.Query) -> Iterator[PenstockError]:
    if endpoint.paging is None or tree.is_star:
        return
    selected = tree.named_selects
    for name, _ in endpoint.paging.by:
        if name not in selected:
            found = f"paging.by names '{name}', which is not selected"
            yield BadPaging(found, hint=nearest(name, selected), place=endpoint.place)
