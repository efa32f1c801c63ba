"""The catalogue of errors: the page lists exactly the codes in the code, each explained, and each raised in a test."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import penstock
from penstock.errors import PenstockError, catalogue

ROOT = Path(__file__).parent.parent.parent
for module in pkgutil.walk_packages(penstock.__path__, "penstock."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
CLASSES = sorted(catalogue(), key=lambda cls: cls.code)
TESTS = "\n".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*") if path.suffix in (".py", ".sql", ".yaml")
)


def test_codes_are_never_used_twice() -> None:
    codes = [cls.code for cls in CLASSES]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"PEN\d{3}", code) for code in codes)


def test_the_page_lists_exactly_the_codes_in_the_code() -> None:
    page = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
    assert set(re.findall(r"PEN\d{3}", page)) >= {cls.code for cls in CLASSES}
    assert set(re.findall(r"^#+ .*(PEN\d{3})", page, re.M)) == {cls.code for cls in CLASSES}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.code)
def test_every_code_is_explained_and_raised_in_a_test(cls: type[PenstockError]) -> None:
    assert cls.title
    assert cls.__doc__
    assert len(cls.__doc__.split()) >= 8
    assert cls.code in TESTS or re.search(rf"\b{cls.__name__}\b", TESTS), f"no test raises {cls.code} {cls.title}"
