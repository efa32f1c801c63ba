"""A project folder read, planned and checked as a whole: what `validate` reports and `run` starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import PenstockError, PenstockErrors
from penstock.plan.errors import UnknownStreamError
from penstock.plan.model import Plan
from penstock.plan.planner import plan
from penstock.project.errors import Doubtful, UnknownStream
from penstock.project.model import Project
from penstock.project.read import read_project
from penstock.serve.check import check_endpoint
from penstock.sources.base import SourceConfig
from penstock.sources.registry import sources


@dataclass(frozen=True)
class CheckedFolder:
    """A project with its pipelines planned; `errors` in the order of their places, empty when `run` may start."""

    project: Project
    plans: Mapping[str, Plan]
    errors: list[PenstockError]
    warnings: list[PenstockError]

    @property
    def summary(self) -> str:
        p = self.project
        counts = (
            (len(p.streams), "stream"),
            (len(p.sources), "source"),
            (len(p.pipelines), "pipeline"),
            (len(p.endpoints), "endpoint"),
        )
        return (
            f"{p.settings.name}: " + ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in counts) + ": valid"
        )


def check_folder(
    root: Path, environment: str | None, connectors: Mapping[str, type[SourceConfig]], environ: Mapping[str, str]
) -> CheckedFolder:
    """Reads and plans the folder; never raises for what stands in it."""
    project = read_project(root, environment, connectors, environ)
    errors, warnings = list(project.problems), [*project.warnings, *_doubts(project)]
    plans: dict[str, Plan] = {}
    for pipeline in project.pipelines.values():
        try:
            plans[pipeline.name] = plan(pipeline, project.streams)
        except PenstockErrors as several:
            errors += several.errors
    for endpoint in project.endpoints.values():
        errors += check_endpoint(endpoint, plans)
    errors = [e for e in errors if not _follows(e, project)]
    return CheckedFolder(project, plans, sorted(errors, key=_place), sorted(warnings, key=_place))


def _follows(error: PenstockError, project: Project) -> bool:
    """Whether an error only says that a stream is missing whose contract could not be read: that is told already."""
    broken = any(e.place and e.place.file.startswith("contracts/") for e in project.problems)
    return broken and isinstance(error, UnknownStream | UnknownStreamError)


def _doubts(project: Project) -> Iterator[PenstockError]:
    """Yields what the types of the sources warn of."""
    for file in project.sources.values():
        stream, cls = project.streams.get(file.stream), sources().get(file.type)
        if stream is not None and cls is not None and file.config is not None:
            for sentence in cls.warnings(file, stream):
                yield Doubtful(sentence, place=file.place)


def _place(error: PenstockError) -> tuple[str, int, int]:
    return (error.place.file, error.place.line, error.place.column) if error.place else ("", 0, 0)
