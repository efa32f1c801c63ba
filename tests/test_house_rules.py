"""The house's rules, measured: small functions and files, docstrings, one-way imports, no cycles.

Exceptions stand in the tables below, each with its reason; one that is no longer needed is a failure too.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "penstock"
MODULES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}

ORDER = (
    "errors", "sqltypes", "observe", "project", "sources", "log.model", "intake", "log", "plan", "engines", "store",
    "serve", "operate", "cli",
)  # fmt: skip
"""The way of a row. A module imports from folders before its own, never from one after it."""

LONG_FILES: dict[str, str] = {}
"""File -> why it may be longer than 500 lines."""
LONG_FUNCTIONS: dict[str, str] = {}
"""`file:function` -> why it may be longer than 60 lines (100 is the limit for all)."""
MANY_PARAMETERS: dict[str, str] = dict.fromkeys(
    ("cli/export.py:export", "cli/generate.py:generate", "cli/run.py:run"),
    "a verb's parameters are its options, four of them common to all verbs",
)
"""`file:function` -> why it may take more than 7 parameters."""


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name(path)}:{node.name}", node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without the docstring: explaining more must not be punished."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body and body[-1].end_lineno else 0


def check(found: set[str], allowed: dict[str, str], rule: str) -> None:
    assert not found - allowed.keys(), f"{rule}: {sorted(found - allowed.keys())}"
    assert not allowed.keys() - found, f"no longer needed exceptions: {sorted(allowed.keys() - found)}"


def test_files_are_short() -> None:
    found = {name(p) for p in MODULES if len(p.read_text(encoding="utf-8").splitlines()) > 500}
    check(found, LONG_FILES, "split these files (at most 500 lines, one noun per file)")


def test_functions_are_short() -> None:
    lengths = {key: length(node) for key, node in functions()}
    over = {key for key, lines in lengths.items() if lines > 60}
    check(over, LONG_FUNCTIONS, "split these functions (at most 60 lines; name parts after what they do)")
    assert not [key for key, lines in lengths.items() if lines > 100]
    assert statistics.median(lengths.values()) <= 10


def test_functions_take_few_parameters() -> None:
    found = set()
    for key, node in functions():
        a = node.args
        count = len(a.posonlyargs) + len(a.args) + len(a.kwonlyargs)
        if a.args and a.args[0].arg in ("self", "cls"):
            count -= 1
        if count > 7:
            found.add(key)
    check(found, MANY_PARAMETERS, "group these parameters into a dataclass (at most 7)")


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_module_opens_with_a_docstring(path: Path) -> None:
    assert ast.get_docstring(TREES[path]), "say in the first lines what lives here and why it is so"


def test_roles_have_few_abstract_methods() -> None:
    for path, tree in TREES.items():
        for cls in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
            abstract = [
                f.name
                for f in cls.body
                if isinstance(f, ast.FunctionDef)
                and any(isinstance(d, ast.Name) and d.id == "abstractmethod" for d in f.decorator_list)
            ]
            assert len(abstract) <= 6, f"{name(path)}:{cls.name} has {len(abstract)} abstract methods"


def test_only_observe_imports_logging_and_metrics() -> None:
    for path, tree in TREES.items():
        if name(path).startswith("observe/"):
            continue
        for module, _ in imports(tree):
            top = module.split(".")[0]
            assert top not in ("logging", "structlog", "prometheus_client", "opentelemetry"), f"{name(path)}: {module}"


def test_print_and_swallowed_exceptions() -> None:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                silent = all(isinstance(s, ast.Pass) for s in node.body)
                broad = node.type is None or (isinstance(node.type, ast.Name) and node.type.id.startswith("BaseEx"))
                wide = isinstance(node.type, ast.Name) and node.type.id == "Exception"
                assert not (silent and (broad or wide)), f"{name(path)}:{node.lineno} swallows every exception"


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yields (module, inside a function) of every import."""
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, id(node) in inside
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) in inside


def layer(module: str) -> int | None:
    """Where a module stands in ORDER; None for what is not ours or the package itself."""
    if not module.startswith("penstock."):
        return None
    rest = module.removeprefix("penstock.")
    if rest == "log.model" or rest.startswith("log.model."):
        return ORDER.index("log.model")
    top = rest.split(".")[0]
    return ORDER.index(top) if top in ORDER else None


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_imports_go_one_way() -> None:
    for path, tree in TREES.items():
        mine = layer(module_name(path))
        if mine is None:
            continue
        for module, _ in imports(tree):
            theirs = layer(module)
            assert theirs is None or theirs <= mine or module.startswith("penstock.log.model"), (
                f"{name(path)} imports {module}: imports go along the way of a row: {' < '.join(ORDER)}"
            )


def test_no_own_import_inside_a_function() -> None:
    for path, tree in TREES.items():
        for module, nested in imports(tree):
            assert not (nested and module.startswith("penstock")), f"{name(path)} imports {module} inside a function"


def test_no_import_cycles() -> None:
    names = {module_name(p) for p in MODULES}
    graph = {module_name(p): {m for m, _ in imports(t) if m in names} - {module_name(p)} for p, t in TREES.items()}
    done: set[str] = set()

    def visit(node: str, path: tuple[str, ...]) -> None:
        assert node not in path, f"import cycle: {' -> '.join([*path[path.index(node) :], node])}"
        if node not in done:
            for next_ in sorted(graph[node]):
                visit(next_, (*path, node))
            done.add(node)

    for node in sorted(graph):
        visit(node, ())
