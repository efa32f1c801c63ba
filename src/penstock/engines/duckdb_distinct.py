"""How the values of count(DISTINCT ...) are kept: statements of one distinct aggregate.

Table `d_` holds one row per value that a group has, table `i_` further counts of values that `d_` has: so a step that
only adds rows looks up `d_` alone, writes new values there and the others' counts beside. A step that takes rows back
adds both up for the values it touches and writes what is left of them to `d_`.

In memory `d_` carries a hash of group and value, and rows are found by it alone before the values are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.engines.duckdb_layout import Layout, create, listed, quote, same, value_names
from penstock.plan.model import Distinct

HASH = "_h"
"""Column of `d_` in memory: a hash of group and values."""


@dataclass(frozen=True)
class Lookup:
    """How `k_` is made. `hashed`: the tables are those in memory; `weighted`: rows were taken back; `twice`: `dp_` may
    hold a value more than once; `within`: a condition on `d` that bounds what is read."""

    hashed: bool
    weighted: bool
    twice: bool
    within: str


class Values:
    """The tables and statements of `distinct`."""

    def __init__(self, layout: Layout, distinct: Distinct) -> None:
        self.layout, self.distinct = layout, distinct
        self.kept = quote("d_" + distinct.name)
        self.counts = quote("i_" + distinct.name)
        self.partial = quote("dp_" + distinct.name)
        self.looked_up = quote("k_" + distinct.name)
        self.names = value_names(distinct)
        self.columns = [*map(quote, layout.groups), *self.names]
        self.hash = f"hash({listed(self.columns)})"

    def tables(self, schema: str, *, hashed: bool) -> list[str]:
        """Returns CREATE TABLE statements."""
        columns = [(g.name, g.type.duckdb) for g in self.layout.steps.groups]
        columns += [(name, t.duckdb) for name, (_, t) in zip(self.names, self.distinct.values, strict=True)]
        columns.append(("c", "BIGINT"))
        hash_ = [(HASH, "UBIGINT")] if hashed else []
        return [create(f"{schema}.{self.kept}", columns + hash_), create(f"{schema}.{self.counts}", columns)]

    def hashed_partial(self, select: str) -> str:
        """Returns `partial_distinct` with the hash."""
        return f"SELECT *, {self.hash} AS {HASH} FROM ({select})"

    def lookup(self, schema: str, how: Lookup) -> str:
        """Returns the SELECT of `k_`: group, values, c, [hash], gained (1 new, 0 known, -1 gone).

        c is what is to be added; where rows were taken back, the value's whole count.
        """
        extra = f", {HASH}" if how.hashed else ""
        new = self.partial
        if how.twice:
            new = f"(SELECT {listed(self.columns)}, sum(c)::BIGINT AS c{extra} FROM {self.partial} GROUP BY ALL)"
        on = " AND ".join([same("q", "d", self.layout.groups), *(f"q.{v} = d.{v}" for v in self.names)])
        total = "(q.c + coalesce(d.c, 0))::BIGINT" if how.weighted else "q.c"
        gained = (
            f"({total} > 0)::INTEGER - (coalesce(d.c, 0) > 0)::INTEGER" if how.weighted else "(d.c IS NULL)::INTEGER"
        )
        picked = listed(f"q.{c}" for c in self.columns)
        hash_ = f", q.{HASH}" if how.hashed else ""
        old = f"({self._old(schema, how)}) AS d"
        return f"SELECT {picked}, {total} AS c{hash_}, {gained} AS gained FROM {new} AS q LEFT JOIN {old} ON ({on})"

    def _old(self, schema: str, how: Lookup) -> str:
        columns = listed(f"d.{c}" for c in [*self.columns, "c"])
        by_hash = f" SEMI JOIN {self.partial} AS q ON (d.{HASH} = q.{HASH})" if how.hashed else ""
        kept = f"SELECT {columns} FROM {schema}.{self.kept} AS d{by_hash} WHERE {how.within}"
        if not how.weighted:
            return kept
        both = f"{kept} UNION ALL SELECT {columns} FROM {schema}.{self.counts} AS d WHERE {how.within}"
        return f"SELECT {listed(self.columns)}, sum(c)::BIGINT AS c FROM ({both}) GROUP BY ALL"

    def store(self, schema: str, how: Lookup) -> list[str]:
        """Returns the statements that put `k_` into the tables."""
        plain = listed([*self.columns, "c"])
        columns = listed([*self.columns, "c", *([HASH] if how.hashed else [])])
        kept, counts = f"{schema}.{self.kept}", f"{schema}.{self.counts}"
        if not how.weighted:
            return [
                f"INSERT INTO {kept} SELECT {columns} FROM {self.looked_up} WHERE gained = 1",
                f"INSERT INTO {counts} SELECT {plain} FROM {self.looked_up} WHERE gained = 0",
            ]
        on = " AND ".join([same("d", "k", self.layout.groups), *(f"d.{v} = k.{v}" for v in self.names)])
        return [
            *(f"DELETE FROM {t} AS d USING {self.looked_up} AS k WHERE {on} AND {how.within}" for t in (kept, counts)),
            f"INSERT INTO {kept} SELECT {columns} FROM {self.looked_up} WHERE c > 0",
        ]

    def change(self) -> str:
        """Returns the SELECT of how many values each group gained or lost: groups, k."""
        keys = listed(map(quote, self.layout.groups))
        by = f" GROUP BY {keys}" if keys else ""
        return f"SELECT {keys + ', ' if keys else ''}sum(gained)::BIGINT AS k FROM {self.looked_up}{by}"

    def whole(self, schema: str, where: str) -> str:
        """Returns the SELECT of the values with their whole counts, in order of the blocks, of rows `where` picks."""
        columns = listed(self.columns)
        both = " UNION ALL ".join(
            f"SELECT {columns}, c FROM {schema}.{t} AS x WHERE {where}" for t in (self.kept, self.counts)
        )
        order = f" ORDER BY {quote(self.layout.ordering.name)}" if self.layout.ordering else ""
        return f"SELECT {columns}, sum(c)::BIGINT AS c FROM ({both}) GROUP BY ALL HAVING sum(c) > 0{order}"
