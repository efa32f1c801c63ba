"""What a plan means and how it is kept, as JSON and as text: `penstock explain` and the notes of `validate`."""

from __future__ import annotations

from penstock.plan.aggregates import SUBTRACTS
from penstock.plan.model import Distinct, Extreme, Plan

NO_WINDOW = "no window of the event time in GROUP BY: rows of this pipeline are never late, its rows never final"


def explain(plan: Plan) -> dict[str, object]:
    """Returns the plan as a JSON object: what is typed, kept, merged, recomputed and finished."""
    kept = plan.steps
    return {
        "pipeline": plan.name,
        "stream": plan.stream,
        "typed_select": plan.typed_select,
        "columns": [
            {"name": c.name, "type": str(c.type), "postgres": c.type.postgres, "from": list(c.lineage)}
            for c in plan.columns
        ],
        "key": list(plan.key),
        "window": _window(plan),
        "late": plan.late,
        "timezone": plan.timezone,
        "partial": _partial(plan),
        "merge": _merge(plan),
        "recompute": _recompute(plan),
        "subtracts": _subtracts(plan),
        "unit": _unit(plan),
        "finish": kept.finish,
        "fingerprint": plan.fingerprint,
    }


def notes(plan: Plan) -> list[str]:
    """Returns what `validate` says of a plan: its window and what becomes of late rows, or that none is ever late."""
    if plan.window is None:
        return [f"{plan.name}: {NO_WINDOW}"]
    fate = "counts, and its window is marked restated" if plan.late == "restate" else "is set aside and counted"
    return [f"{plan.name}: windows of {plan.window.column} ({plan.window.expression}); a late row {fate}"]


def _window(plan: Plan) -> dict[str, str] | str:
    if plan.window is None:
        return NO_WINDOW
    return {"column": plan.window.column, "expression": plan.window.expression, "end": plan.window.end}


def _partial(plan: Plan) -> dict[str, object]:
    kept = plan.steps
    parts: dict[str, object] = {"where": kept.where, "groups": {g.name: g.sql for g in kept.groups}}
    parts["sums"] = {"n": "weight of the rows"} | {a.name: f"{a.sql} as {a.type}" for a in kept.additives}
    parts["extremes"] = {e.name: _extreme(e) for e in kept.extremes}
    parts["distinct values"] = {d.name: _distinct(d) for d in kept.distincts}
    parts["kept"] = {k.name: k.sql for k in kept.kept}
    return {name: value for name, value in parts.items() if value}


def _extreme(extreme: Extreme) -> str:
    order = ", ".join(sql for sql, _ in extreme.order)
    within = f" where {extreme.filter}" if extreme.filter else ""
    return f"{extreme.kind}({extreme.sql}{', (' + order + ')' if order else ''}){within}"


def _distinct(distinct: Distinct) -> str:
    within = f" where {distinct.filter}" if distinct.filter else ""
    return ", ".join(sql for sql, _ in distinct.values) + within


def _merge(plan: Plan) -> list[str]:
    kept = plan.steps
    if kept.is_list:
        return ["rows are put in and taken out by key"]
    lines = ["n and sums are added, group by group; a group with n = 0 is gone"]
    if kept.extremes:
        lines.append("extremes: the better of the two")
    if kept.distincts:
        lines.append("distinct values: their counts are added; a value with count 0 is gone")
    return lines


def _recompute(plan: Plan) -> str:
    names = [e.name for e in plan.steps.extremes]
    if not names:
        return "never: everything kept can be subtracted"
    return f"{', '.join(names)}: from the rows of the group that count, when a row is taken back"


def _subtracts(plan: Plan) -> dict[str, str]:
    kept = plan.steps
    found = {"n": SUBTRACTS["count"]} | {a.name: SUBTRACTS["sum"] for a in kept.additives}
    found |= {e.name: SUBTRACTS[e.kind] for e in kept.extremes}
    found |= {d.name: SUBTRACTS["count_distinct"] for d in kept.distincts}
    return {"the row": "is taken out by its key"} if kept.is_list else found


def _unit(plan: Plan) -> str:
    unit = plan.steps.unit
    if unit is None:
        return "each row of the result by itself"
    if not unit:
        return "the whole table: its window functions see all rows"
    named = {g.name: g.column for g in plan.steps.groups}
    return f"all rows that share {', '.join(named[u] for u in unit)}"


def text(plan: Plan) -> str:
    """Returns the explanation as text for a terminal; its SQL is what runs, to the letter."""
    shown = explain(plan)
    lines = [f"{plan.name}: kept from stream {plan.stream}", "", "Typed SELECT", _shifted(plan.typed_select), ""]
    lines.append("Columns")
    for c in plan.columns:
        key = "  (key)" if c.name in plan.key else ""
        lines.append(f"  {c.name}: {c.type}{key}  <- {', '.join(c.lineage) or 'rows alone'}")
    lines += ["", "Window", f"  {_window_text(plan)}"]
    for title in ("partial", "merge", "recompute", "subtracts", "unit"):
        lines += ["", title.capitalize(), *_indented(shown[title])]
    lines += ["", "Finish", _shifted(plan.steps.finish), "", f"Fingerprint {plan.fingerprint}"]
    return "\n".join(lines)


def _window_text(plan: Plan) -> str:
    if plan.window is None:
        return NO_WINDOW
    w = plan.window
    return f"{w.column} = {w.expression}\n  ends at {w.end}\n  late rows: {plan.late}; timezone: {plan.timezone}"


def _indented(value: object, indent: str = "  ") -> list[str]:
    if isinstance(value, dict):
        lines: list[str] = []
        for name, inner in value.items():
            nested = isinstance(inner, (dict, list))
            lines += [f"{indent}{name}:", *_indented(inner, indent + "  ")] if nested else [f"{indent}{name}: {inner}"]
        return lines
    if isinstance(value, list):
        return [f"{indent}{item}" for item in value]
    return [f"{indent}{value}"]


def _shifted(sql: str) -> str:
    return "\n".join("  " + line for line in sql.splitlines())
