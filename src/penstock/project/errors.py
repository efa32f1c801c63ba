"""Errors of reading a project folder: codes PEN1xx."""

from __future__ import annotations

from penstock.errors import PenstockError


class ProjectError(PenstockError):
    """Base of the errors of a project folder."""


class UnreadableFile(ProjectError):
    """A file of the project folder cannot be read: no rights, not UTF-8, too big, or not a file at all. The message
    says which. Save text files as UTF-8 and give the user who runs Penstock the right to read them."""

    code = "PEN101"
    title = "unreadable file"


class BrokenYaml(ProjectError):
    """A file is not YAML. The place is where reading stopped; the mistake often stands just before it: a missing
    quote or bracket, a tab used to indent, a `: ` inside a text without quotes."""

    code = "PEN102"
    title = "broken YAML"


class DuplicateKey(ProjectError):
    """A key stands twice in one mapping, so one of the two values would be lost. Remove or rename one."""

    code = "PEN103"
    title = "duplicate key"


class UnknownKey(ProjectError):
    """A key is none of those that may stand there. The hint names the nearest, or all."""

    code = "PEN104"
    title = "unknown key"


class MissingKey(ProjectError):
    """A required key is missing. The hint says what it means, with an example."""

    code = "PEN105"
    title = "missing key"


class WrongValue(ProjectError):
    """A value is not of the kind its key asks for. The message says what was found and what is expected."""

    code = "PEN106"
    title = "wrong value"


class MissingVariable(ProjectError):
    """A value refers to `${VAR}` and neither the environment nor the folder's `.env` has it. Set it, add it to `.env`,
    or give a default: `${VAR:-default}`. `validate` only warns, since other machines may have the variable; a verb
    that needs the value fails."""

    code = "PEN107"
    title = "missing variable"


class BadVariable(ProjectError):
    """A `${` does not begin a reference. The forms are `${VAR}`, `${VAR:-default}` and `${VAR:?message}`; a literal
    `${` is written `$${`. Lines of `.env` are `NAME=value`."""

    code = "PEN108"
    title = "bad variable"


class LiteralSecret(ProjectError):
    """A password or another secret stands in a file of the project. Files are copied, committed and shown; write a
    reference instead: `${VAR}` (the variable may stand in `.env`, which is not committed) or
    `file:/run/secrets/name`. The secret should be changed if the file was shared."""

    code = "PEN109"
    title = "literal secret"


class MissingSecretFile(ProjectError):
    """A value refers to `file:...` and that file cannot be read. Create it, or give the user who runs Penstock the
    right to read it. `validate` only warns; a verb that needs the value fails."""

    code = "PEN110"
    title = "missing secret file"


class NotAProject(ProjectError):
    """The folder has no `penstock.yaml`, so it is not a project. Go into the project's folder, name it with
    `--project DIR`, or make a new one with `penstock init DIR`."""

    code = "PEN111"
    title = "not a project"


class UnknownEnvironment(ProjectError):
    """The environment asked for with `--env` is not under `environments:` in penstock.yaml."""

    code = "PEN112"
    title = "unknown environment"


class NotAvailable(ProjectError):
    """The settings ask for a part that this installation does not have: a log or an engine whose words the format
    knows but which is not installed. Use another, or choose another environment."""

    code = "PEN113"
    title = "not available"


class DuplicateName(ProjectError):
    """Two files declare the same thing: a stream, a source, a table, a route. Rename or remove one."""

    code = "PEN114"
    title = "duplicate name"


class BadName(ProjectError):
    """A name cannot be used: file names become names of tables, sources and operations, and names that begin with an
    underscore are Penstock's own."""

    code = "PEN115"
    title = "bad name"


class BadContract(ProjectError):
    """A contract is not a valid Open Data Contract Standard 3 file. The message is that of the standard's schema."""

    code = "PEN116"
    title = "bad contract"


class BadRule(ProjectError):
    """A contract is valid, but says something about a stream that cannot be: an event time that may be missing, a
    pattern that cannot be run, bounds that leave no value. The message says what and the hint how to write it."""

    code = "PEN117"
    title = "bad rule"


class UnknownStream(ProjectError):
    """A source names a stream that no contract describes. The hint names the nearest, or all."""

    code = "PEN118"
    title = "unknown stream"


class UnknownProperty(ProjectError):
    """A name is none of the contract's properties. The hint names the nearest, or all."""

    code = "PEN119"
    title = "unknown property"


class BadExpression(ProjectError):
    """An expression under `fields`, `where` or `operation` is not one expression over one row in DuckDB's SQL. A
    column name with blanks or of mixed case stands in double quotes, a text in single ones."""

    code = "PEN120"
    title = "bad expression"


class NoSelect(ProjectError):
    """A .sql file does not hold what it must: an opening comment with YAML that ends, then one SELECT."""

    code = "PEN121"
    title = "no SELECT"


class BadEndpoint(ProjectError):
    """An endpoint's route, parameters and SELECT do not fit together: a `:name` in the SQL that is not declared, a
    declared parameter that nothing uses, a name in the path without a parameter, SQL that cannot be parsed."""

    code = "PEN122"
    title = "bad endpoint"


class UnknownTable(ProjectError):
    """An endpoint reads a table that no pipeline of the project keeps. The hint names the nearest, or all."""

    code = "PEN123"
    title = "unknown table"


class NothingActs(ProjectError):
    """A warning: something stands in the folder that nothing acts on: a file in a place where none is read, or a part
    of a contract that is not about single rows."""

    code = "PEN124"
    title = "nothing acts on this"


class Doubtful(ProjectError):
    """A warning: a source can run as it is set up, but its type knows a reason why that may not be what is meant. The
    message says which."""

    code = "PEN125"
    title = "doubtful"
