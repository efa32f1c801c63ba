"""Writes the generated pages of docs/: `python -m tools.docs`. A test fails when one of them is stale."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path

import penstock
from penstock.errors import catalogue
from penstock.observe.metrics import reference_page as metrics_page
from penstock.project.jsonschema import schemas
from penstock.project.reference import configuration_page, errors_page, source_page
from penstock.sources.registry import sources

DOCS = Path(__file__).parent.parent / "docs"


def pages() -> dict[str, str]:
    """Returns the path below docs/ and the text of every generated file."""
    _import_all()
    connectors = {word: cls.Config for word, cls in sources().items()}
    found = {
        "reference/configuration.md": configuration_page(connectors),
        "reference/errors.md": errors_page(c for c in catalogue() if c.__module__.startswith("penstock.")),
        "reference/metrics.md": metrics_page(),
    }
    for word, cls in sources().items():
        about = sys.modules[cls.__module__].__doc__ or ""
        found[f"sources/{word}.md"] = source_page(word, about, cls.Config)
    for kind, schema in schemas(connectors).items():
        if kind != "contract":  # the standard publishes that one
            found[f"reference/schema/{kind}.schema.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return found


def _import_all() -> None:
    """Imports every module, so that the catalogue knows every error."""
    for module in pkgutil.walk_packages(penstock.__path__, "penstock."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def main() -> None:
    """Writes all pages."""
    for name, text in pages().items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
