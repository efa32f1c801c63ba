"""Finds the sources: every module of this package that declares a Source subclass, by its `type`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache

import penstock.sources as package
from penstock.sources.base import Source


@cache
def sources() -> Mapping[str, type[Source]]:
    """Returns type word -> class. A new file in this folder is found without any list."""
    found: dict[str, type[Source]] = {}
    for module in pkgutil.iter_modules(package.__path__):
        loaded = importlib.import_module(f"{package.__name__}.{module.name}")
        for _, cls in inspect.getmembers(loaded, inspect.isclass):
            if issubclass(cls, Source) and not inspect.isabstract(cls) and cls.__module__ == loaded.__name__:
                found[cls.type] = cls
    return found
