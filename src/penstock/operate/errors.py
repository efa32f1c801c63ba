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


class SourceChanged(OperateError):
    """A source of this name has read rows into another stream, or by another type. Its cursor belongs to those: read on
    from there the new stream would lack what came before, in silence. Give the changed source another name."""

    code = "PEN912"
    title = "source changed"


class NotRunning(OperateError):
    """A verb needs a running penstock and none runs on this project. Start it with `penstock run`."""

    code = "PEN911"
    title = "not running"


class UnexpectedFailure(OperateError):
    """A source or pipeline met something that Penstock did not expect: a defect of Penstock or of a connector. Only
    that one stopped. The traceback is in the file that the message names."""

    code = "PEN914"
    title = "unexpected failure"


class FolderNotEmpty(OperateError):
    """A new project was to be written into a folder that holds something. Name a new or an empty folder; nothing was
    written."""

    code = "PEN950"
    title = "folder not empty"


class UnknownTemplate(OperateError):
    """`init --template` names a template that Penstock does not have."""

    code = "PEN951"
    title = "unknown template"
