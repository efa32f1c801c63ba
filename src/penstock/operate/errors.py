"""Errors of running a project: codes PEN91x to PEN94x."""

from __future__ import annotations

from penstock.errors import PenstockError


class OperateError(PenstockError):
    """Base of the errors of running."""


class ContractChanged(OperateError):
    """A contract differs from the one that rows in the log were accepted under, in more than a new optional property
    or a rule. Such rows cannot be read by the new contract. Put the contract back as it was, or start a stream of
    another name for the new shape."""

    code = "PEN910"
    title = "contract changed"


class NotRunning(OperateError):
    """A verb needs a running penstock and none runs on this project. Start it with `penstock run`."""

    code = "PEN911"
    title = "not running"


class SourceStopped(OperateError):
    """A source met a failure that trying again does not mend and stopped; the others go on. The message carries the
    source's own error. Mend its cause, then start `penstock run` again: it goes on from its cursor."""

    code = "PEN912"
    title = "source stopped"


class PipelineStopped(OperateError):
    """A pipeline met a failure that trying again does not mend and stopped; the others go on and the log keeps its
    rows. Mend its cause, then start `penstock run` again: it goes on from its position."""

    code = "PEN913"
    title = "pipeline stopped"


class UnexpectedFailure(OperateError):
    """A source or pipeline met something that Penstock did not expect: a defect of Penstock or of a connector. Only
    that one stopped. The traceback is in the file that the message names."""

    code = "PEN914"
    title = "unexpected failure"


class ResultCannotBeAdopted(OperateError):
    """A changed pipeline's new result cannot take the place of the old table, e.g. because a view depends on a column
    that goes away. Drop the view, or give the pipeline another name."""

    code = "PEN915"
    title = "result cannot be replaced"


class FolderNotEmpty(OperateError):
    """A new project was to be written into a folder that holds something. Name a new or an empty folder; nothing was
    written."""

    code = "PEN950"
    title = "folder not empty"


class UnknownTemplate(OperateError):
    """`init --template` names a template that Penstock does not have."""

    code = "PEN951"
    title = "unknown template"
