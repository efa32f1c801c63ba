"""The sample world, live: what `demo` needs around a run of the sales project.

It writes the project folder, fills a shop database and the first file drops with the history up to now, and then sells
and drops in two threads until it is stopped.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from penstock.observe import emit
from penstock.observe.events import Notice
from penstock.operate.templates import write_template
from penstock.operate.world import SalesSpec
from penstock.operate.world_files import FORMATS, Dropper, write_sales
from penstock.operate.world_shop import Feeder, create_shop


@dataclass
class LiveWorld:
    """The demo's world in the project folder `project`, with the shop in the PostgreSQL database at `shop_url`."""

    project: Path
    shop_url: str
    seed: int = 1
    history_rows: int = 20_000
    """Sales of the shop's history; the drops' history is as much again, in three files."""
    history_days: int = 7
    orders_per_second: float = 20.0
    drops_per_second: float = 20.0
    feeder: Feeder = field(init=False)
    dropper: Dropper = field(init=False)

    def __post_init__(self) -> None:
        session = f"{secrets.token_hex(3)}-"
        self.feeder = Feeder(self.shop_url, SalesSpec(seed=self.seed, late=0.005))
        self.dropper = Dropper(self.project / "drops", SalesSpec(seed=self.seed, prefix="f-"), session=session)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def prepare(self) -> None:
        """Writes the folder (unless it holds a project), `.env`, the shop with its history and the first drops.

        Raises PenstockError, psycopg.Error, OSError.
        """
        if not (self.project / "penstock.yaml").exists():
            write_template("sales", self.project)
        (self.project / ".env").write_text(f"SHOP_DB={self.shop_url}\n", encoding="utf-8")
        end = datetime.now(UTC)
        create_shop(self.shop_url, self._history("s-", end, 0))
        drops = self.project / "drops"
        if not drops.exists():
            drops.mkdir()
            for n, format in enumerate(FORMATS, 1):
                spec = self._history(f"h{n}-", end, n)
                write_sales(drops / f"history-{n}.{format}", spec, format)

    def _history(self, prefix: str, end: datetime, part: int) -> SalesSpec:
        rows = self.history_rows if part == 0 else self.history_rows // len(FORMATS)
        return SalesSpec(rows=rows, days=self.history_days, seed=self.seed, end=end, prefix=prefix)

    def start(self) -> None:
        """Begins to sell and to drop."""
        self._run("shop", lambda: self.feeder.run(self.orders_per_second, self._stop.wait))
        self._run("drops", lambda: self.dropper.run(self.drops_per_second, self._stop.wait))

    def _run(self, name: str, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except (psycopg.Error, OSError) as e:
                emit(Notice(f"the sample world's {name} stopped: {' '.join(str(e).split())}", of=name))

        thread = threading.Thread(target=guarded, name=f"world-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Ends both threads; returns when they have ended. May be called twice."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
