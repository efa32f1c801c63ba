"""Writes a project folder from a template of the package: `minimal` for `init`, `sales` for the reference project."""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from penstock.errors import nearest
from penstock.operate.errors import FolderNotEmpty, UnknownTemplate

DOTTED = {"_gitignore": ".gitignore", "_env.example": ".env.example"}
"""Names in the package, and in the folder: files that begin with a dot are left out by some packers."""


def templates() -> tuple[str, ...]:
    """Returns the templates' names."""
    folders = files("penstock.templates").iterdir()
    return tuple(sorted(f.name for f in folders if f.is_dir() and not f.name.startswith("_")))


def write_template(name: str, target: Path, project: str | None = None) -> list[Path]:
    """Writes the template `name` into the folder `target`, which may exist when it is empty.

    `project` replaces the name in penstock.yaml. Returns the files written, relative to `target`, sorted. Raises
    UnknownTemplate, FolderNotEmpty, OSError.
    """
    if name not in templates():
        raise UnknownTemplate(f"there is no template {name}", hint=nearest(name, templates()))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        found = f"{target} is there already and not an empty folder"
        raise FolderNotEmpty(found, hint="name a new folder; or run what is in it: `penstock run`")
    written = sorted(_copy(files("penstock.templates") / name, target, Path()))
    if project is not None:
        settings = target / "penstock.yaml"
        text = re.sub(r"^name:.*$", f"name: {project}", settings.read_text(encoding="utf-8"), count=1, flags=re.M)
        settings.write_text(text, encoding="utf-8")
    return written


def _copy(source: Traversable, target: Path, below: Path) -> list[Path]:
    written = []
    (target / below).mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if entry.is_dir():
            written += _copy(entry, target, below / entry.name) if entry.name != "__pycache__" else []
        else:
            path = below / DOTTED.get(entry.name, entry.name)
            (target / path).write_bytes(entry.read_bytes())
            written.append(path)
    return written
