"""References in values: `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, `$${`, and `file:` for secrets.

A reference is filled in after parsing, so that what a variable holds is never read as YAML. A variable without a
value leaves the reference standing and marks the node: checks of that value are then left out, and the
MissingVariable goes to the warnings, from where `read.required` makes it an error for the verbs that need the value.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import Place
from penstock.project.errors import BadVariable, LiteralSecret, MissingSecretFile, MissingVariable
from penstock.project.yamlfile import Document, KeyPath, Node, Problems, read_text

_REFERENCE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:-|:\?|\})")
_SECRET_KEY = re.compile(
    r"(^|_)(password|passwd|passphrase|pwd|secret|token|private_key|api_key|apikey|secret_key|secret_access_key"
    r"|account_key|sas_token|client_secret)$"
)
_URL_PASSWORD = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/@:]*:(?P<secret>[^\s@/]+)@")
_DSN_PASSWORD = re.compile(r"(?:^|[\s?&;])(?:password|sslpassword)\s*=\s*(?P<secret>'[^']*'|[^\s&;]+)", re.IGNORECASE)
_SECRETS = "file:/run/secrets/"
_DOTENV_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True)
class Variables:
    """Where values come from: the real environment first, then the folder's `.env`."""

    environ: Mapping[str, str]
    dotenv: Mapping[str, str]
    root: Path = Path()
    """The folder that relative paths of secrets' files are relative to."""

    def get(self, name: str) -> str | None:
        value = self.environ.get(name)
        return value if value is not None else self.dotenv.get(name)


def read_dotenv(root: Path, problems: Problems) -> dict[str, str]:
    """Returns what `.env` in the folder says; {} without one."""
    path = root / ".env"
    text = read_text(path, ".env", problems) if path.is_file() else None
    values: dict[str, str] = {}
    for number, line in enumerate((text or "").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _DOTENV_LINE.fullmatch(line)
        value = _dotenv_value(match[2]) if match else None
        if match and value is not None:
            values[match[1]] = value
        else:
            found = "this line is not NAME=value" if match is None else f"the quote of {match[1]} is not closed"
            problems.error(BadVariable(found, hint="one NAME=value on a line", place=Place(".env", number, 1)))
    return values


def _dotenv_value(text: str) -> str | None:
    """Returns a value without its quotes or trailing comment; None when a quote is not closed."""
    if text[:1] == "'":
        match = re.fullmatch(r"'([^']*)'\s*(?:#.*)?", text)
        return match[1] if match else None
    if text[:1] == '"':
        match = re.fullmatch(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?', text)
        return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), match[1]) if match else None
    return re.split(r"\s+#", text, maxsplit=1)[0]


class _Missing(Exception):
    """A variable has no value."""

    def __init__(self, name: str, message: str) -> None:
        self.name, self.message = name, message
        super().__init__()


def expand(text: str, get: Callable[[str], str | None]) -> str:
    """Returns `text` with its references filled in. Raises ValueError for a broken one, _Missing for one without a
    value."""
    out, at = [], 0
    while (start := text.find("${", at)) >= 0:
        if start > at and text[start - 1] == "$":
            out.append(text[at : start - 1] + "${")
            at = start + 2
            continue
        out.append(text[at:start])
        value, at = _reference(text, start, get)
        out.append(value)
    return "".join(out) + text[at:]


def _reference(text: str, start: int, get: Callable[[str], str | None]) -> tuple[str, int]:
    """Returns the value of the reference at `start` and the index after it."""
    match = _REFERENCE.match(text, start + 2)
    if match is None:
        msg = f"'{text[start : start + 20]}' is not a reference"
        raise ValueError(msg)
    name, form = match[1], match[2]
    value = get(name)
    if form == "}":
        if value is None:
            raise _Missing(name, "")
        return value, match.end()
    end = _closing(text, match.end())
    if value:
        return value, end + 1
    if form == ":?":
        raise _Missing(name, text[match.end() : end])
    return expand(text[match.end() : end], get), end + 1


def _closing(text: str, at: int) -> int:
    """Returns the index of the brace that closes the reference whose default or message begins at `at`."""
    depth = 1
    for index in range(at, len(text)):
        if text.startswith("${", index):
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    msg = f"'{text[max(0, at - 12) : at + 12]}' is not closed by a brace"
    raise ValueError(msg)


def fill_in(document: Document, variables: Variables, problems: Problems) -> Document:
    """Returns the document with references filled in; what has no value is left standing and marked."""
    return dataclasses.replace(document, root=_fill(document, document.root, (), _Filler(variables, problems)))


@dataclass(frozen=True)
class _Filler:
    variables: Variables
    problems: Problems


def _fill(document: Document, node: Node, path: KeyPath, filler: _Filler) -> Node:
    if node.kind == "mapping":
        below = {k: _fill(document, v, (*path, k), filler) for k, v in node.mapping.items()}
        return dataclasses.replace(node, mapping=below)
    if node.kind == "sequence":
        return dataclasses.replace(
            node, sequence=[_fill(document, v, (*path, i), filler) for i, v in enumerate(node.sequence)]
        )
    if not isinstance(node.value, str):
        return node
    if "${" in node.value:
        node = _filled(document, node, path, filler)
    if _names_secret_file((*document.at, *path), node.value):
        return _secret_file(document, node, path, filler)
    return node


def _filled(document: Document, node: Node, path: KeyPath, filler: _Filler) -> Node:
    place = document.place(path)
    try:
        return dataclasses.replace(node, value=expand(node.value, filler.variables.get), hidden=True)
    except ValueError as e:
        hint = "the forms are ${VAR}, ${VAR:-default}, ${VAR:?message}; a literal ${ is written $${"
        filler.problems.error(BadVariable(str(e), hint=hint, place=place))
    except _Missing as e:
        said = f": {e.message}" if e.message else ""
        found = f"neither the environment nor .env has {e.name}{said}"
        hint = f"set {e.name}, put it into .env, or write ${{{e.name}:-default}}"
        filler.problems.warn(MissingVariable(found, hint=hint, place=place))
    return dataclasses.replace(node, unresolved=True)


def _secret_file(document: Document, node: Node, path: KeyPath, filler: _Filler) -> Node:
    file = filler.variables.root / node.value.removeprefix("file:")
    try:
        secret = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as e:
        reason = (e.strerror if isinstance(e, OSError) else None) or "not UTF-8 text"
        found = f"the secret's file {file} cannot be read: {reason}"
        hint = "create the file, or give the user who runs Penstock the right to read it"
        filler.problems.warn(MissingSecretFile(found, hint=hint, place=document.place(path)))
        return dataclasses.replace(node, unresolved=True)
    return dataclasses.replace(node, value=secret, hidden=True)


def _names_secret_file(path: KeyPath, value: object) -> bool:
    """Whether a value is a reference to a file: of a secret, of a connection as a whole, or in the usual place."""
    if not isinstance(value, str) or not value.startswith("file:"):
        return False
    return is_secret_key(path) or path[-1:] in (("connection",), ("url",), ("store",)) or value.startswith(_SECRETS)


def is_secret_key(path: KeyPath) -> bool:
    """Whether the value at `path` is a secret by the name of its key."""
    keys = [p for p in path if isinstance(p, str)]
    return bool(keys) and bool(_SECRET_KEY.search(keys[-1].lower()))


def holds_secret(path: KeyPath, text: str) -> bool:
    """Whether a text of a file holds a secret itself instead of a reference to one."""
    if is_secret_key(path):
        return bool(text) and "${" not in text and not text.startswith("file:")
    found = [*_URL_PASSWORD.finditer(text), *_DSN_PASSWORD.finditer(text)]
    return any("${" not in match["secret"] and match["secret"].strip("'") for match in found)


def check_secrets(document: Document, problems: Problems) -> None:
    """Adds a LiteralSecret for every secret that stands in the file itself. The secret is not repeated."""
    for path, node in document.root.walk():
        if node.value is not None and not isinstance(node.value, bool) and holds_secret(path, node.text):
            what = "a secret" if is_secret_key(path) else "a URL or connection string with a password"
            name = re.sub(r"\W", "_", next((str(p) for p in reversed(path) if isinstance(p, str)), "SECRET")).upper()
            hint = f"write ${{{name}}} and put the value into the environment or .env, or write file:/run/secrets/..."
            found = f"{what} stands in the file"
            problems.error(LiteralSecret(found, hint=hint, place=document.place(path)))
