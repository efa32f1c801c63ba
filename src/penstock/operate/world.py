"""The sample world: realistic sales, by seed always the same, made column by column.

Sales follow the days of the week and the hours of the day; a salesman sells mostly at home and around it; amounts are
lognormal with a heavy tail. Rows come in the order in which they would arrive: a share of them late (sold hours or
days before), some twice, some broken in the ways that the contract of the sales project refuses. Every row can be told
from its number and the seed, so any two machines make the same file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.operate.world_people import TERRITORY, Floats, Ints, People, people

CHUNK_ROWS = 131_072
NEWEST = datetime(2026, 1, 31, tzinfo=UTC)
"""The end of the history unless said otherwise: fixed, so that the same seed makes the same rows."""

SCHEMA = pa.schema(
    [
        pa.field("sale_id", pa.string()),
        pa.field("sold_at", pa.timestamp("us", tz="UTC")),
        pa.field("amount", pa.decimal128(12, 2)),
        pa.field("city", pa.string()),
        pa.field("salesman_id", pa.string()),
        pa.field("salesman_name", pa.string()),
        pa.field("customer_email", pa.string()),
        pa.field("channel", pa.string()),
    ]
)
"""The columns of a sale: those of the sales project's contract."""

HOURS = np.array([1, 1, 1, 1, 1, 2, 5, 12, 30, 52, 68, 74, 60, 55, 66, 72, 78, 80, 62, 40, 22, 12, 6, 3], dtype=float)
"""Sales per hour of the day, UTC, relative."""
WEEKDAYS = np.array([1.0, 1.02, 1.05, 1.1, 1.35, 1.2, 0.35])
"""Sales per weekday from Monday, relative."""

BREAKAGES = ("negative amount", "no city", "empty city", "no salesman", "bad email", "unknown channel", "far future")


@dataclass(frozen=True)
class SalesSpec:
    """What to make. Shares are of all rows; `rows` counts late, repeated and broken ones too."""

    rows: int = 100_000
    days: int = 30
    seed: int = 1
    end: datetime = NEWEST
    """The history is the `days` before this instant (aware)."""
    late: float = 0.01
    duplicates: float = 0.005
    bad: float = 0.005
    prefix: str = "s-"
    """Begins every sale_id, so that rows of several makers differ."""
    channel: str = "drop"


@dataclass
class Made:
    """Counts of what was made."""

    rows: int = 0
    late: int = 0
    duplicates: int = 0
    bad: int = 0

    def add(self, other: Made) -> None:
        self.rows += other.rows
        self.late += other.late
        self.duplicates += other.duplicates
        self.bad += other.bad


def sales(spec: SalesSpec, made: Made | None = None, chunk_rows: int = CHUNK_ROWS) -> Iterator[pa.Table]:
    """Yields the sales of `spec` in order of arrival, as tables of SCHEMA with at most `chunk_rows` rows; counts into
    `made`. The rows do not depend on anything but `spec`, if `chunk_rows` is left as it is."""
    times, cumulative = _intensity(spec)
    for chunk, first in enumerate(range(0, spec.rows, chunk_rows)):
        numbers = np.arange(first, min(first + chunk_rows, spec.rows))
        rng = np.random.default_rng([spec.seed, 2, chunk])
        at = np.interp((numbers + rng.random(len(numbers))) / spec.rows, cumulative, times)
        table, counts = chunk_of(spec, numbers, at.astype(np.int64), rng)
        if made is not None:
            made.add(counts)
        yield table


def _intensity(spec: SalesSpec) -> tuple[Floats, Floats]:
    """Returns the edges of the hours (microseconds since 1970) and the share of all sales before each."""
    start = spec.end - timedelta(days=spec.days)
    hours = [start + timedelta(hours=h) for h in range(spec.days * 24 + 1)]
    weights = np.array([HOURS[t.hour] * WEEKDAYS[t.weekday()] for t in hours[:-1]])
    cumulative = np.concatenate([[0.0], np.cumsum(weights)])
    return np.array([t.timestamp() * 1e6 for t in hours]), cumulative / cumulative[-1]


def chunk_of(spec: SalesSpec, numbers: Ints, at: Ints, rng: np.random.Generator) -> tuple[pa.Table, Made]:
    """Returns one sale per number, arriving at `at` (microseconds since 1970), and what is odd about them."""
    who = people(spec.seed)
    n = len(numbers)
    seller = rng.choice(len(who.shares), n, p=who.shares)
    city = who.territories[seller, rng.choice(TERRITORY, n, p=[0.6, 0.2, 0.12, 0.08])]
    email = _customers(who, city, rng)
    cents = amounts(rng, n)
    late = rng.random(n) < spec.late
    sold = at - np.where(late, rng.uniform(2 * 3600e6, 48 * 3600e6, n), rng.uniform(0, 30e6, n)).astype(np.int64)
    columns = {
        "sale_id": pc.binary_join_element_wise(spec.prefix, pa.array(numbers).cast(pa.string()), ""),
        "sold_at": pa.array(sold).cast(pa.timestamp("us", tz="UTC")),
        "amount": cents,
        "city": who.cities.take(pa.array(city)),
        "salesman_id": pa.array(seller + 1).cast(pa.string()),
        "salesman_name": pa.array(who.salesman_names).take(pa.array(seller)),
        "customer_email": pa.array(who.emails).take(pa.array(email)),
        "channel": pa.array([spec.channel]).take(pa.array(np.zeros(n, dtype=np.int64))),
    }
    bad = rng.random(n) < spec.bad
    table = pa.table(_broken(columns, bad, rng.integers(len(BREAKAGES), size=n)), schema=SCHEMA)
    order = _repeating(spec, bad, rng)
    repeats = order != np.arange(n)
    made = Made(n, int((late & ~bad & ~repeats).sum()), int(repeats.sum()), int(bad.sum()))
    return table.take(pa.array(order)) if repeats.any() else table, made


def amounts(rng: np.random.Generator, n: int) -> pa.Array:
    """Returns decimal(12,2) amounts: lognormal around 60, one in fifty from a heavy tail, none above 250,000."""
    usual = rng.lognormal(4.1, 0.9, n)
    tail = 400.0 * (1.0 + rng.pareto(1.6, n))
    cents = np.rint(np.clip(np.where(rng.random(n) < 0.02, tail, usual), 0.5, 250_000.0) * 100).astype(np.int64)
    hundredths = pa.array(cents).cast(pa.decimal128(19, 0))
    return pc.multiply(hundredths, pa.scalar("0.01").cast(pa.decimal128(3, 2))).cast(pa.decimal128(12, 2))


def _customers(who: People, city: Ints, rng: np.random.Generator) -> Ints:
    """Returns a customer of each city, by index; few of them buy most."""
    counts = np.array([len(c) for c in who.city_customers])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    chosen = (rng.random(len(city)) ** 2 * counts[city]).astype(np.int64)
    found: Ints = np.concatenate(who.city_customers)[starts[city] + chosen]
    return found


def _broken(columns: dict[str, pa.Array], bad: np.ndarray, how: Ints) -> dict[str, pa.Array]:
    """Returns the columns with the `bad` rows broken, each in the way of BREAKAGES that `how` says."""

    def rows(breakage: str) -> pa.Array:
        return pa.array(bad & (how == BREAKAGES.index(breakage)))

    year_2099 = pa.scalar(datetime(2099, 12, 31, tzinfo=UTC), pa.timestamp("us", tz="UTC"))
    changed = dict(columns)
    changed["amount"] = pc.if_else(rows("negative amount"), pc.negate(columns["amount"]), columns["amount"])
    city = pc.if_else(rows("no city"), pa.scalar(None, pa.string()), columns["city"])
    changed["city"] = pc.if_else(rows("empty city"), "", city)
    changed["salesman_id"] = pc.if_else(rows("no salesman"), pa.scalar(None, pa.string()), columns["salesman_id"])
    changed["customer_email"] = pc.if_else(rows("bad email"), "unknown", columns["customer_email"])
    changed["channel"] = pc.if_else(rows("unknown channel"), "fax", columns["channel"])
    changed["sold_at"] = pc.if_else(rows("far future"), year_2099, columns["sold_at"])
    return changed


def _repeating(spec: SalesSpec, bad: np.ndarray, rng: np.random.Generator) -> Ints:
    """Returns which row stands in each place: its own, or for some a good one that came shortly before."""
    n = len(bad)
    order = np.arange(n)
    repeats = ~bad & (rng.random(n) < spec.duplicates)
    before = np.maximum(order - rng.integers(1, 50, size=n), 0)
    repeats &= ~bad[before] & ~repeats[before] & (before < order)
    order[repeats] = before[repeats]
    return order
