"""Observations: typed events the code emits about itself; handlers turn them into log lines and metrics.

Only this package imports logging and metrics libraries. `emit` never raises and never blocks on I/O of its own.
"""

from penstock.observe.events import Observation, emit, subscribe, unsubscribe

__all__ = ["Observation", "emit", "subscribe", "unsubscribe"]
