"""Every page of the guide is typed word by word in an empty folder: its files are written, its commands run.

Fenced blocks: `sh` runs (must end with 0; `sh fails` must not), a language and a path writes the file, `text` is what
the commands before it must have printed (each line somewhere in their output, blanks squeezed).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs" / "guide"
PAGES = sorted(GUIDE.glob("*.md"))
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.M | re.S)


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


class Reader:
    """Somebody who types a page word by word."""

    def __init__(self, home: Path) -> None:
        self.folder = home
        self.said = ""

    def type(self, info: str, text: str) -> None:
        words = info.split()
        if words[:1] == ["sh"]:
            self.said = "".join(self.run(line, fails="fails" in words) for line in text.splitlines() if line.strip())
        elif words == ["text"]:
            for line in text.splitlines():
                assert squeezed(line) in squeezed(self.said), f"not printed: {line}\nbut: {self.said}"
        elif len(words) == 2:
            path = self.folder / words[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def run(self, line: str, *, fails: bool) -> str:
        words = shlex.split(line)
        if words[0] == "cd":
            self.folder = self.folder / words[1]
            return ""
        if words[0] == "penstock":
            words = [sys.executable, "-m", *words]
        done = subprocess.run(
            words, cwd=self.folder, capture_output=True, text=True, check=False, timeout=120, env={**os.environ}
        )
        assert (done.returncode != 0) == fails, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr


def squeezed(text: str) -> str:
    return " ".join(text.split())


TYPED = [page for page in PAGES if any(info.split()[:1] == ["sh"] for info, _ in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", TYPED, ids=lambda p: p.stem)
def test_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for info, text in blocks(page):
        reader.type(info, text)


@pytest.mark.parametrize("page", [*PAGES, *sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*/*.md"))], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), f"{page.name} links to {target}"
