"""The project templates: each is written whole, is valid, and is named when it is asked for wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.operate.errors import FolderNotEmpty, UnknownTemplate
from penstock.operate.folder import check_folder
from penstock.operate.templates import templates, write_template
from penstock.sources.registry import sources


def test_templates_are_those_of_the_package() -> None:
    assert templates() == ("minimal", "sales")


@pytest.mark.parametrize("name", templates())
def test_template_is_a_valid_project(name: str, tmp_path: Path) -> None:
    written = write_template(name, tmp_path / "new", project="mine")
    assert written == sorted(p.relative_to(tmp_path / "new") for p in (tmp_path / "new").rglob("*") if p.is_file())
    assert Path(".gitignore") in written
    connectors = {word: source.Config for word, source in sources().items()}
    checked = check_folder(tmp_path / "new", None, connectors, {"SHOP_DB": "postgresql://reader@localhost/shop"})
    assert checked.errors == []
    assert checked.project.settings.name == "mine"


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(FolderNotEmpty, match=r"PEN950 folder not empty: .*not an empty folder"):
        write_template("minimal", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_unknown_template(tmp_path: Path) -> None:
    with pytest.raises(UnknownTemplate, match=r"PEN951 unknown template: there is no template sale\n.*'sales'"):
        write_template("sale", tmp_path)
