"""Reads a whole project folder, and never stops at the first mistake.

Everything wrong becomes an error of the Project, with its place; what could be read is there beside it, so that
`validate` tells all of it at once and later stages can check what is left. Values that are missing only here (unset
variables, absent secret files) are warnings until a verb asks for them with `required`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from penstock.errors import PenstockError, Place, nearest
from penstock.project.contract import ContractReader
from penstock.project.endpoint import read_endpoint
from penstock.project.errors import (
    BadEndpoint,
    BadName,
    BadRule,
    DuplicateName,
    MissingSecretFile,
    MissingVariable,
    NotAProject,
    NothingActs,
)
from penstock.project.expressions import ExpressionChecker
from penstock.project.model import EndpointFile, PipelineFile, Project, Settings, SourceFile, Stream
from penstock.project.pipeline import read_pipeline
from penstock.project.settings import FILE, Available, read_settings
from penstock.project.source import SourceReader
from penstock.project.variables import Variables, read_dotenv
from penstock.project.yamlfile import Document, Problems, read_text, read_yaml

FOLDERS = {
    "contracts": (".yaml", ".yml"),
    "sources": (".yaml", ".yml"),
    "pipelines": (".sql",),
    "endpoints": (".sql",),
    "tests": (".yaml", ".yml"),
}
"""The folders that are read, and the endings of their files."""
_NAMES = {
    "sources": (r"[A-Za-z][A-Za-z0-9_-]{0,62}", "letters, digits, _ and -, beginning with a letter"),
    "pipelines": (r"[a-z][a-z0-9_]{0,62}", "small letters, digits and _, beginning with a letter, at most 63"),
    "endpoints": (r"[A-Za-z][A-Za-z0-9_-]{0,62}", "letters, digits, _ and -, beginning with a letter"),
}


def read_project(
    root: Path,
    environment: str | None,
    connectors: Mapping[str, type[BaseModel]],
    environ: Mapping[str, str],
    available: Available = Available(),
) -> Project:
    """Returns the project in the folder `root`. Never raises for what stands in it: errors are in `problems`.

    `connectors` are the types of sources with the models of their own keys; `environ` is the process's environment;
    `available` says which logs and engines exist beyond the embedded ones.
    """
    root = root.absolute()
    problems = Problems()
    variables = Variables(environ, read_dotenv(root, problems), root)
    return _Reader(root, environment, connectors, variables, problems).read(available)


def missing_values(project: Project, *parts: str) -> list[PenstockError]:
    """Returns the warnings about values that are missing here, as far as they are of these parts.

    A part is a folder (`sources`, `contracts`, `pipelines`, `endpoints`) or a key of penstock.yaml (`store`, `log`,
    `serve`, ...); without any, all parts are meant. A verb names what it uses, so that `serve` does not need the
    variables of sources.
    """
    missing = [w for w in project.warnings if isinstance(w, MissingVariable | MissingSecretFile)]
    return [w for w in missing if not parts or _part(w.place) in parts]


def required(project: Project, *parts: str) -> Project:
    """Returns the project with missing values of these parts (as `missing_values` takes them) as errors."""
    missing = missing_values(project, *parts)
    warnings = tuple(w for w in project.warnings if w not in missing)
    return dataclasses.replace(project, problems=_sorted([*project.problems, *missing]), warnings=warnings)


def _part(place: Place | None) -> str:
    file = place.file if place else ""
    return re.split(r"[.\[]", place.path)[0] if place and file == FILE else file.split("/")[0]


def _sorted(errors: list[PenstockError]) -> tuple[PenstockError, ...]:
    return tuple(sorted(errors, key=lambda e: _order(e.place)))


def _order(place: Place | None) -> tuple[bool, str, int, int]:
    return (place is None or place.file != FILE, place.file, place.line, place.column) if place else (False, "", 0, 0)


class _Reader:
    """Reads one folder."""

    def __init__(
        self,
        root: Path,
        environment: str | None,
        connectors: Mapping[str, type[BaseModel]],
        variables: Variables,
        problems: Problems,
    ) -> None:
        self.root, self.environment, self.connectors = root, environment, connectors
        self.variables, self.problems = variables, problems
        self.expressions = ExpressionChecker()

    def read(self, available: Available) -> Project:
        settings = self.settings(available)
        self.look_around()
        streams = self.streams()
        sources = self.sources(streams, settings)
        pipelines = self.pipelines(settings)
        endpoints = self.endpoints()
        self.check_versions(streams, sources)
        return Project(
            root=self.root,
            settings=settings,
            streams=streams,
            sources=sources,
            pipelines=pipelines,
            endpoints=endpoints,
            problems=_sorted(self.problems.errors),
            warnings=_sorted(self.problems.warnings),
        )

    def settings(self, available: Available) -> Settings:
        path = self.root / FILE
        document: Document | None = None
        if path.exists():
            document = read_yaml(path, FILE, self.problems)
        else:
            hint = "make a project with: penstock init DIR"
            other = self.root / "penstock.yml"
            hint = f"rename {other.name} to {FILE}" if other.exists() else hint
            self.problems.error(NotAProject(f"there is no {FILE} in {self.root}", hint=hint, place=FILE))
        return read_settings(document, self.environment, self.variables, self.problems, available)

    def look_around(self) -> None:
        """Warns of folders whose names are close to those that are read."""
        for path in sorted(self.root.iterdir()) if self.root.is_dir() else ():
            hint = nearest(path.name, FOLDERS)
            if path.is_dir() and path.name not in FOLDERS and hint.startswith("did you mean"):
                self.problems.warn(NothingActs("no folder of this name is read", hint=hint, place=path.name))

    def files(self, folder: str) -> Iterator[tuple[str, Path, str]]:
        """Yields (name, path, file) of the files of a folder, one per name; warns of what is not read."""
        endings, seen = FOLDERS[folder], dict[str, str]()
        directory = self.root / folder
        for path in sorted(directory.iterdir()) if directory.is_dir() else ():
            file = f"{folder}/{path.name}"
            if path.name.startswith(".") or path.name.endswith(("~", ".swp", ".md")):
                continue
            if path.is_dir() or path.suffix not in endings:
                hint = f"files here end in {' or '.join(endings)} and stand directly in the folder"
                self.problems.warn(NothingActs("is not read", hint=hint, place=file))
                continue
            name = path.name.removesuffix(path.suffix)
            if folder in _NAMES and not self.name_fits(folder, name, file, seen):
                continue
            seen[name.lower()] = file
            yield name, path, file

    def name_fits(self, folder: str, name: str, file: str, seen: Mapping[str, str]) -> bool:
        pattern, hint = _NAMES[folder]
        if not re.fullmatch(pattern, name):
            self.problems.error(
                BadName(f"'{name}' cannot be a name here", hint=f"name the file with {hint}", place=file)
            )
            return False
        if name.lower() in seen:
            found = f"'{name}' is also declared in {seen[name.lower()]}"
            self.problems.error(DuplicateName(found, hint="rename or remove one of the two files", place=file))
            return False
        return True

    def streams(self) -> dict[str, Stream]:
        reader = ContractReader(self.variables, self.expressions, self.problems)
        streams: dict[str, Stream] = {}
        for _, path, file in self.files("contracts"):
            document = read_yaml(path, file, self.problems)
            for stream in reader.read(document) if document else ():
                twin = next((s for s in streams.values() if s.name.lower() == stream.name.lower()), None)
                if twin is not None:
                    found = f"the stream '{stream.name}' is also described in {twin.place}"
                    self.problems.error(DuplicateName(found, hint="rename or remove one", place=stream.place))
                else:
                    streams[stream.name] = stream
        return streams

    def sources(self, streams: Mapping[str, Stream], settings: Settings) -> dict[str, SourceFile]:
        reader = SourceReader(
            streams, self.connectors, settings.timezone, self.variables, self.expressions, self.problems
        )
        sources: dict[str, SourceFile] = {}
        for name, path, file in self.files("sources"):
            document = read_yaml(path, file, self.problems)
            source = reader.read(name, document) if document else None
            if source is not None:
                sources[name] = source
        self.check_renames(sources)
        return sources

    def pipelines(self, settings: Settings) -> dict[str, PipelineFile]:
        pipelines: dict[str, PipelineFile] = {}
        for name, path, file in self.files("pipelines"):
            text = read_text(path, file, self.problems)
            if text is None:
                continue
            pipeline = read_pipeline(name, text, file, settings.timezone, self.variables, self.problems)
            if pipeline is not None:
                pipelines[name] = pipeline
        self.check_renames(pipelines)
        return pipelines

    def endpoints(self) -> dict[str, EndpointFile]:
        tables = {p.name.removesuffix(".sql") for p in (self.root / "pipelines").glob("*.sql")}
        endpoints: dict[str, EndpointFile] = {}
        for name, path, file in self.files("endpoints"):
            text = read_text(path, file, self.problems)
            if text is None:
                continue
            endpoint = read_endpoint(name, text, file, tables, self.variables, self.problems)
            if endpoint is not None:
                endpoints[name] = endpoint
        self.check_routes(endpoints)
        return endpoints

    def check_routes(self, endpoints: Mapping[str, EndpointFile]) -> None:
        routes: dict[str, EndpointFile] = {}
        for endpoint in endpoints.values():
            shape = re.sub(r"\{[^}]*\}", "{}", endpoint.path)
            if shape in routes:
                found = f"the route '{endpoint.path}' is also that of {routes[shape].place.file}"
                self.problems.error(BadEndpoint(found, hint="give one another path", place=endpoint.place))
            routes.setdefault(shape, endpoint)

    def check_renames(self, files: Mapping[str, SourceFile] | Mapping[str, PipelineFile]) -> None:
        taken: dict[str, str] = {}
        for name, file in files.items():
            old = file.renamed_from
            if old is None:
                continue
            place = dataclasses.replace(file.place, path="renamed_from")
            if old in files:
                found = f"'{name}' says it was '{old}', which is still there"
                self.problems.error(DuplicateName(found, hint="remove renamed_from, or the other file", place=place))
            elif old in taken:
                found = f"'{name}' and '{taken[old]}' both say that they were '{old}'"
                self.problems.error(DuplicateName(found, hint="only one can go on from it", place=place))
            taken[old] = name

    def check_versions(self, streams: Mapping[str, Stream], sources: Mapping[str, SourceFile]) -> None:
        """Checks that newer rows of upsert streams can be known: by a version, or by one source's position."""
        for stream in streams.values():
            feeding = [s for s in sources.values() if s.stream == stream.name]
            if stream.changes != "upsert" or stream.version is not None or not feeding:
                continue
            unordered = [s for s in feeding if not orders_versions(self.connectors.get(s.type))]
            if len(feeding) > 1 or unordered:
                why = "has several sources" if len(feeding) > 1 else f"is read from {feeding[0].type}"
                found = f"the upsert stream '{stream.name}' {why} and no version says which row is newer"
                hint = "add the custom property version to the contract, naming a property that grows"
                self.problems.error(BadRule(found, hint=hint, place=stream.place))


def orders_versions(config: type[BaseModel] | None) -> bool:
    """Whether positions of a source of this kind tell which of two rows is newer; connectors say so in their model."""
    return bool(getattr(config, "positions_order_versions", True))
