"""From rows of the log, the relation `chunk`, to partials: one row per group that a merge can add to the state.

The usual rows, all of weight +1 and none late, get simpler and faster statements.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.engines.duckdb_layout import (
    EVENT_LOW,
    Layout,
    extreme_type,
    grouped,
    listed,
    picker,
    quote,
    same,
    value_names,
)
from penstock.plan.model import Distinct, Extreme


@dataclass(frozen=True)
class Mode:
    """What a chunk of rows holds."""

    weighted: bool
    """Some `_weight` is not 1."""
    late: bool
    """Some row may be late."""
    taken: bool = True
    """Whether the extremes of rows taken back get columns, which cost a little even when they are empty."""


ANY = Mode(weighted=True, late=False)


def taken_name(extreme: Extreme) -> str:
    """Returns the column of `p` that holds the extreme of the rows taken back."""
    return "t_" + extreme.name


class Partials:
    """The statements over `chunk` of one plan."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.plan, self.steps = layout.plan, layout.steps

    def late(self) -> str:
        """Returns the condition that a row is late."""
        assert self.plan.window
        return f"coalesce(({self.plan.window.end}) <= _watermark, false)"

    def counting(self, mode: Mode, *extra: str) -> str:
        """Returns the WHERE clause of the rows of `chunk` that count in this pipeline."""
        conditions = [f"({self.steps.where})"] if self.steps.where else []
        conditions += ["_weight <> 0"] if mode.weighted else []
        if mode.late and self.plan.late == "set_aside":
            conditions.append(f"NOT {self.late()}")
        conditions += extra
        return " WHERE " + " AND ".join(conditions) if conditions else ""

    def partial(self, mode: Mode) -> str:
        """Returns the SELECT of `p`: groups, the state's columns, event times, extremes of rows taken back."""
        extremes = [f"{_extreme(e, mode)} AS {quote(e.name)}" for e in self.steps.extremes]
        measures = [*self._sums(mode), *extremes, *self._rest(mode)]
        keys = self.layout.keyed()
        return f"SELECT {listed(keys + measures)} FROM chunk{self.counting(mode)}{grouped(len(keys))}"

    def _sums(self, mode: Mode) -> list[str]:
        sums = [f"{_summed(a.sql, a.type.duckdb, mode)} AS {quote(a.name)}" for a in self.steps.additives]
        return [f"{_count(mode)} AS n", *sums]

    def _rest(self, mode: Mode) -> list[str]:
        out = [f"{self._kept(mode)} AS kept"] if self.steps.kept else []
        out += [f"0::BIGINT AS {quote(d.name)}" for d in self.steps.distincts]
        if self.layout.event_time:
            column = quote(self.layout.event_time)
            out.append(f"min({column}) AS {EVENT_LOW}")
        extremes = self.steps.extremes if mode.taken else ()
        return out + [f"{_taken(e, mode)} AS {quote(taken_name(e))}" for e in extremes]

    def _kept(self, mode: Mode) -> str:
        row = listed(f"{quote(k.name)} := {k.sql}" for k in self.steps.kept)
        place = "(_batch::BIGINT * 1000000000 + _row)"
        only = " FILTER (WHERE _weight > 0)" if mode.weighted else ""
        return f'arg_max(struct_pack("at" := {place}, "row" := struct_pack({row})), {place}){only}'

    def partial_distinct(self, distinct: Distinct, mode: Mode) -> str:
        """Returns the SELECT of one distinct aggregate's values with counts per group: groups, values, c."""
        keys = self.layout.keyed()
        keys += [f"{sql} AS {name}" for name, (sql, _) in zip(value_names(distinct), distinct.values, strict=True)]
        known = [f"({sql}) IS NOT NULL" for sql, _ in distinct.values]
        known += [f"({distinct.filter})"] if distinct.filter else []
        select = f"SELECT {listed(keys)}, {_count(mode)} AS c"
        return f"{select} FROM chunk{self.counting(mode, *known)}{grouped(len(keys))}"

    def late_windows(self, mode: Mode) -> str:
        """Returns the SELECT of the late rows per window: win, late, _et0."""
        assert self.layout.window_group
        conditions = [f"({self.steps.where})"] if self.steps.where else []
        conditions += ["_weight <> 0", self.late()]
        time = quote(self.layout.event_time) if self.layout.event_time else "NULL::TIMESTAMPTZ"
        return (
            f"SELECT {self.layout.window_group.sql} AS win, {_count(mode)} AS late, min({time}) AS {EVENT_LOW} "
            f"FROM chunk WHERE {' AND '.join(conditions)} GROUP BY 1"
        )

    def candidates(self, extreme: Extreme, mode: Mode) -> str:
        """Returns the SELECT of an extreme's values in `chunk`, net, of the groups of `stale`: groups, x, c.

        A row taken back has the content of the row it takes back, so the same value: the sum of weights per value is
        what is left of the multiset, with no need to pair the rows themselves.
        """
        rows = f"SELECT {listed([*self.layout.keyed(), f'{_packed(extreme)} AS x', '_weight'])} FROM chunk"
        rows += self.counting(mode, *_takes_part(extreme))
        joined = f"SELECT {self.layout.group_list('q')}q.x, sum(_weight)::BIGINT AS c FROM ({rows}) AS q"
        return f"{joined} SEMI JOIN stale ON ({same('q', 'stale', self.layout.groups)}) GROUP BY ALL"


def _count(mode: Mode) -> str:
    return "sum(_weight)::BIGINT" if mode.weighted else "count(*)"


def _summed(sql: str, type_: str, mode: Mode) -> str:
    if mode.weighted:
        sql = f"CASE WHEN _weight > 0 THEN ({sql})::{type_} ELSE -(({sql})::{type_}) END"
    return f"coalesce(sum({sql}), 0)::{type_}"


def _extreme(extreme: Extreme, mode: Mode) -> str:
    known = [*_takes_part(extreme), *(["_weight > 0"] if mode.weighted else [])]
    return f"{picker(extreme)}({_packed(extreme)}) FILTER (WHERE {' AND '.join(known)})"


def _taken(extreme: Extreme, mode: Mode) -> str:
    if not mode.weighted:
        return f"NULL::{extreme_type(extreme)}"
    known = " AND ".join([*_takes_part(extreme), "_weight < 0"])
    return f"{picker(extreme)}({_packed(extreme)}) FILTER (WHERE {known})"


def _takes_part(extreme: Extreme) -> list[str]:
    known = [f"({sql}) IS NOT NULL" for sql, _ in extreme.order]
    if not extreme.order or "null" not in extreme.kind:
        known.append(f"({extreme.sql}) IS NOT NULL")
    return known + ([f"({extreme.filter})"] if extreme.filter else [])


def _packed(extreme: Extreme) -> str:
    order = [f"o{i} := {sql}" for i, (sql, _) in enumerate(extreme.order)]
    return f"struct_pack({listed([*order, f'v := {extreme.sql}'])})" if order else f"({extreme.sql})"
