"""`penstock generate`: realistic sample sales, in files."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.common import (
    EnvOption,
    JsonOption,
    ProjectOption,
    QuietOption,
    choose,
    common,
    print_json,
    say,
)
from penstock.operate.world import NEWEST, Made, SalesSpec
from penstock.operate.world_files import FORMATS, Dropper, Format, write_sales


def generate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file; a folder with --files, --rate.")] = Path(
        "sales"
    ),
    rows: Annotated[int, typer.Option(min=1, help="How many sales.")] = 100_000,
    days: Annotated[int, typer.Option(min=1, help="Over how many days.")] = 30,
    seed: Annotated[int, typer.Option(help="The same seed makes the same sales.")] = 1,
    form: Annotated[str, typer.Option("--format", help="csv, jsonl or parquet.")] = "csv",
    files: Annotated[int, typer.Option(min=1, help="In how many files.")] = 1,
    rate: Annotated[float, typer.Option(min=0, help="Sales a second, live, until --rows are out; 0: at once.")] = 0,
    late: Annotated[float, typer.Option(min=0, max=1, help="Share of late sales.")] = 0.01,
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="Share of repeated sales.")] = 0.005,
    bad: Annotated[float, typer.Option(min=0, max=1, help="Share of broken sales.")] = 0.005,
    project: ProjectOption = None,
    env: EnvOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write realistic sample sales: cities, territories, hours, heavy-tailed amounts, some late, repeated or broken."""
    options = common(project, env, as_json, quiet)
    chosen: Format = choose(form, "format", FORMATS)  # type: ignore[assignment]
    spec = SalesSpec(rows, days, seed, NEWEST, late, duplicates, bad)
    if rate > 0:
        made, paths = _live(out, spec, rate, chosen)
    else:
        target = out if files > 1 or out.suffix else out.with_suffix(f".{chosen}")
        made, paths = write_sales(target, spec, chosen, files)
    if options.json:
        print_json({"rows": made.rows, "late": made.late, "duplicates": made.duplicates, "bad": made.bad,
                    "files": [str(p) for p in paths]})  # fmt: skip
    told = f"{made.rows:,} sales ({made.late:,} late, {made.duplicates:,} repeated, {made.bad:,} broken)"
    say(options, f"{told} in {', '.join(str(p) for p in paths[:5])}{' ...' if len(paths) > 5 else ''}")


def _live(folder: Path, spec: SalesSpec, rate: float, form: Format) -> tuple[Made, list[Path]]:
    """Drops a file a second of sales that happen now, until `spec.rows` are out or Ctrl-C."""
    dropper = Dropper(folder, spec, formats=(form,))
    paths: list[Path] = []
    due = 0.0
    try:
        while dropper.made.rows < spec.rows:
            time.sleep(1)
            due += rate
            now = min(math.floor(due), spec.rows - dropper.made.rows)
            if now > 0:
                paths.append(dropper.drop(now))
                due -= now
    except KeyboardInterrupt:
        sys.stderr.write("\n")
    return dropper.made, paths
