"""What the builders of expressions, functions and aggregates know of each other: two protocols, so nothing cycles."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from sqlglot import exp

from penstock.errors import Place
from penstock.plan.tree import Node


class Scope(Protocol):
    """Gives names their meaning."""

    def resolve(self, column: exp.Column, place: Place) -> Node:
        """Returns what a name stands for. Raises UnknownColumnError."""

    def inside_aggregate(self) -> AbstractContextManager[None]:
        """Within it, columns of FROM come before aliases."""

    def window_named(self, name: str) -> exp.Expr | None:
        """Returns the definition of a named window, None when there is none."""


class Builder(Protocol):
    """Turns SQL expressions into nodes."""

    scope: Scope
    zone: str

    def build(self, sql: exp.Expr) -> Node:
        """Returns the node. Raises PlanError."""

    def condition(self, sql: exp.Expr) -> Node:
        """Returns the node of a boolean. Raises PlanError."""
