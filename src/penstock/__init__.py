"""Penstock keeps SQL answers up to date. ARCHITECTURE.md walks one row through this package."""

__version__ = "0.1.0"
