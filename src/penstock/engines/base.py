"""The contract of an engine: it adds up the log and tells what changed against what the store confirmed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from penstock.log.model import ChainPoint, Slice


@dataclass(frozen=True)
class Changes:
    """What one step changed, as absolute values, and the position it stands for."""

    upserts: pa.Table
    """Result rows that are new or differ: all result columns, in the plan's order and types."""
    deletes: pa.Table
    """Keys (the plan's key columns) of rows that are gone."""
    windows: pa.Table
    """Windows touched, absolute: window_start (text, as PostgreSQL prints the window column), window_end (timestamptz),
    restated (int64: late rows that count), set_aside (int64: late rows that do not). Empty without a window."""
    at: ChainPoint
    watermark: datetime | None
    """The stream's watermark at `at`."""
    late_set_aside: int
    """Rows set aside so far, in all windows."""
    rows_in: int
    """Log rows read in this step."""


class PipelineState(ABC):
    """The kept state of one pipeline. Used by one thread at a time.

    The order of a step: `advance` -> the store applies the changes and commits -> `confirm`. A crash between the last
    two leaves the state behind the store; the runner then calls `advance` up to the store's position, `confirm`s
    without applying, and goes on. State ahead of the store or of another chain is `reset` and built again.
    """

    @property
    @abstractmethod
    def at(self) -> ChainPoint:
        """The position the confirmed state stands for; ORIGIN when it is empty."""

    @abstractmethod
    def advance(self, slices: Iterable[Slice], to: ChainPoint) -> Changes:
        """Adds the slices (all batches of the plan's stream after `at` up to `to`; other streams' are left out) and
        returns what changes. Nothing is durable before `confirm`. Raises PipelineError (overflow names the group);
        then the state is as before the call.
        """

    @abstractmethod
    def confirm(self) -> None:
        """Makes the last advance durable: the store has committed it."""

    @abstractmethod
    def rollback(self) -> None:
        """Forgets the last advance: the store refused it."""

    @abstractmethod
    def reset(self) -> None:
        """Throws the state away: `at` is ORIGIN afterwards."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of files. May be called twice."""
