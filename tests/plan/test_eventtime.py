"""Windows of the event time: recognised in every shape, and ending right after the last instant they can hold.

The end is checked against all instants around the days on which clocks change: every minute of several days is given
its window, and no row of a window may be at or after the window's end, nor may the end come later than the next
instant of the grid.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.errors import PenstockErrors
from penstock.plan.errors import NoWindowError
from penstock.plan.planner import plan
from tests.plan import support

QUICK = (("UTC", "2026-03-28"), ("Europe/Berlin", "2026-10-24"))
ZONES_AND_CHANGES = (
    ("Europe/Berlin", "2026-03-28"),
    ("America/Havana", "2026-03-07"),
    ("America/Havana", "2026-10-31"),
    ("Australia/Lord_Howe", "2026-04-04"),
    ("Australia/Lord_Howe", "2026-10-03"),
    ("Asia/Kolkata", "2026-03-28"),
    ("America/Sao_Paulo", "2018-11-03"),
    ("America/Sao_Paulo", "2018-02-17"),
    ("Africa/Cairo", "2026-04-23"),
    ("Pacific/Apia", "2011-12-29"),
)
WINDOWS = (
    "CAST(sold_at AS DATE)",
    "date_trunc('day', sold_at)",
    "date_trunc('hour', sold_at)",
    "date_trunc('hour', sold_at AT TIME ZONE '{zone}')",
    "date_trunc('day', sold_at - INTERVAL '6 hours')",
    "CAST(sold_at AT TIME ZONE '{zone}' - INTERVAL '6 hours' AS DATE)",
    "time_bucket(INTERVAL '15 minutes', sold_at)",
    "time_bucket(INTERVAL '15 minutes', sold_at AT TIME ZONE '{zone}')",
    "time_bucket(INTERVAL '45 minutes', sold_at)",
    "time_bucket(INTERVAL '6 hours', sold_at)",
    "time_bucket(INTERVAL '2 days', CAST(sold_at AS DATE))",
    "strftime(sold_at, '%Y-%m-%d %H')",
)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    ("zone", "first_day"), [*QUICK, *(pytest.param(*z, marks=pytest.mark.slow) for z in ZONES_AND_CHANGES)]
)
def test_a_window_ends_after_its_last_instant_and_not_later(zone: str, first_day: str, window: str) -> None:
    expression = window.replace("{zone}", zone)
    p = support.planned(f"SELECT {expression} AS w, count(*) AS n FROM sales GROUP BY w", timezone=zone)
    assert p.window is not None
    group = p.steps.groups[0].sql
    with support.connection() as con:
        con.execute(
            f"CREATE TABLE sales AS SELECT TIMESTAMPTZ '{first_day} 00:00:00+00' + to_minutes(i) AS sold_at "
            "FROM range(-5 * 1440, 9 * 1440) t(i)"
        )
        con.execute(
            "CREATE TABLE w AS SELECT w, count(DISTINCT e) AS ends, max(t) AS last, min(e) AS e "
            f"FROM (SELECT {group} AS w, epoch_us(sold_at) AS t, epoch_us({p.window.end}) AS e FROM sales) GROUP BY w"
        )
        inner = "WHERE last < (SELECT max(last) FROM w) - 2 * 86400000000"
        assert con.execute("SELECT count(*) FROM w WHERE ends <> 1").fetchone() == (0,)
        assert con.execute("SELECT count(*) FROM w WHERE e <= last").fetchone() == (0,)
        allowed = _allowed_slack(zone, window)
        late = con.execute(f"SELECT w, (e - last) / 60e6 FROM w {inner} AND e - last > {allowed}").fetchall()
        assert late == []


def _allowed_slack(zone: str, window: str) -> int:
    """Microseconds by which an end may lie behind the last row of the grid: one minute, but for stretches that the
    clock cuts short (a skipped hour or day, an odd bucket at a change)."""
    if (
        zone == "UTC"
        or zone == "Asia/Kolkata"
        or window.startswith(("CAST(sold_at AS DATE)", "date_trunc('day', sold_at)"))
    ):
        return 60_000_000
    skipped = 24 * 60 if zone == "Pacific/Apia" else 60
    return (skipped + 1) * 60_000_000


@pytest.mark.parametrize(
    ("expression", "length"),
    [
        ("CAST(date_trunc('month', sold_at) AS DATE)", "1 months"),
        ("date_trunc('quarter', CAST(sold_at AS DATE))", "3 months"),
        ("date_trunc('week', date_trunc('day', sold_at))", "7 days"),
        ("strftime(sold_at, '%Y-%m')", "1 months"),
        ("strftime(CAST(sold_at AS DATE), '%d.%m.%Y')", "1 days"),
        ("year(sold_at)", "12 months"),
        ("extract(year FROM sold_at)", "12 months"),
        ("last_day(CAST(sold_at AS DATE))", "1 months"),
        ("CAST(sold_at AS DATE) + 1", "1 days"),
        ("CAST(CAST(sold_at AS DATE) AS VARCHAR)", "1 days"),
        ("CAST(date_trunc('hour', sold_at) AS DATE)", "1 days"),
        ("time_bucket(INTERVAL '3 months', sold_at)", "3 months"),
        ("time_bucket(INTERVAL '1 day', sold_at, TIMESTAMP '2026-01-01 06:00:00')", "1 days"),
    ],
)
def test_windows_are_recognised_inside_what_only_relabels_them(expression: str, length: str) -> None:
    p = support.planned(f"SELECT {expression} AS w, count(*) AS n FROM sales GROUP BY w", timezone="Europe/Berlin")
    assert p.window is not None
    assert f"INTERVAL '{length}'" in p.window.end
    assert p.window.column == "w"


@pytest.mark.parametrize(
    "expression",
    [
        "month(sold_at)", "strftime(sold_at, '%m')", "extract(hour FROM sold_at)", "sold_at", "shipped_on",
        "date_trunc('month', date_trunc('week', sold_at))", "CAST(sold_at AS DATE) - CAST(shipped_on AS DATE)",
        "date_trunc('day', wall_time)", "CASE WHEN amount > 1 THEN CAST(sold_at AS DATE) END",
        "dayname(sold_at)", "CAST(sold_at AS DATE) + pieces",
    ],
)  # fmt: skip
def test_what_comes_again_or_depends_on_more_is_no_window(expression: str) -> None:
    p = support.planned(f"SELECT {expression} AS w, count(*) AS n FROM sales GROUP BY w")
    assert p.window is None


def test_the_shortest_window_counts() -> None:
    windows = "CAST(sold_at AS DATE) AS day, date_trunc('month', sold_at) AS month"
    p = support.planned(f"SELECT {windows}, count(*) AS n FROM sales GROUP BY ALL")
    assert p.window is not None
    assert p.window.column == "day"


@pytest.mark.parametrize(("name", "group"), [("shipped_on", "shipped_on"), ("wall_time", "CAST(wall_time AS DATE)")])
def test_event_times_without_a_zone_end_in_the_pipelines_zone(name: str, group: str) -> None:
    stream = replace(support.SALES, event_time=name)
    sql = f"SELECT {group} AS day, count(*) AS n FROM sales GROUP BY 1"
    p = plan(support.pipeline(sql, timezone="Europe/Berlin"), {"sales": stream})
    assert p.window is not None
    with support.connection() as con:
        row = f"SELECT CAST('2026-03-29 12:00:00' AS TIMESTAMP)::{stream.column(name).type.duckdb} AS {name}"
        end = con.execute(f"SELECT strftime(timezone('UTC', {p.window.end}), '%Y-%m-%d %H:%M') FROM ({row})").fetchone()
        assert end == ("2026-03-29 22:00",)


def test_late_without_a_window_is_an_error() -> None:
    sql = "SELECT city, count(*) AS n FROM sales GROUP BY city"
    with pytest.raises(PenstockErrors, match="late: set_aside is given, but GROUP BY has no window") as caught:
        plan(support.pipeline(sql, late="set_aside"), support.STREAMS)
    assert isinstance(caught.value.errors[0], NoWindowError)
