"""The keys of `type: files`."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from penstock.project.values import ByteSize, Duration, secret
from penstock.sources._files_content import WIDE
from penstock.sources.base import SourceConfig
from penstock.sqltypes import SqlType, from_duckdb

_WORDS = {"INT": "INTEGER", "STRING": "VARCHAR", "BOOL": "BOOLEAN", "FLOAT": "DOUBLE", "REAL": "DOUBLE"}
_ALIASES = {"utf8": "utf-8", "utf-8-sig": "utf-8", "latin1": "latin-1", "utf16": "utf-16", "ansi": "cp1252"}


def _is_single_byte(encoding: str) -> bool:
    """Whether each byte is one character and ASCII is itself."""
    every = bytes(range(256))
    try:
        text = every.decode(encoding, "replace")
    except (LookupError, UnicodeError, AttributeError):
        return False
    return len(text) == 256 and text[:128] == every[:128].decode("ascii")


def type_of(text: str) -> SqlType | None:
    """The type that `types:` calls `text`: a word of ours or of DuckDB's, or None."""
    word = text.strip()
    ours = SqlType(word.lower())
    try:
        _ = ours.duckdb
    except KeyError:
        upper = re.sub(r"\s*,\s*", ",", word.upper()).replace("NUMERIC(", "DECIMAL(")
        return from_duckdb(_WORDS.get(upper, upper))
    return ours if ours.kind not in ("hugeint", "interval", "json") else None


class CsvConfig(SourceConfig):
    """How CSV files are written."""

    delimiter: str = Field(default=",", description="The character between fields.", examples=[";", "\\t"])
    quote: str = Field(default='"', description="The character around fields; '' = none is special.", examples=['"'])
    escape: str = Field(
        default="", description="The character before a quote that is meant; '' = it is doubled.", examples=["\\"]
    )
    header: bool = Field(default=True, description="Whether the first row names the columns.", examples=[False])
    columns: tuple[str, ...] = Field(
        default=(), description="The columns' names with `header: false`.", examples=[["id", "price"]]
    )
    encoding: str = Field(
        default="utf-8",
        description="utf-8, utf-16, cp1252, latin-1 or another single-byte code page.",
    )
    nulls: tuple[str, ...] = Field(
        default=(), description="Words that stand for NULL beside the empty field.", examples=[["NULL"]]
    )
    decimal: str = Field(default=".", description="The decimal mark of numbers.", examples=[","])
    thousands: str = Field(
        default="",
        description="The mark between groups of three digits; '' = none.",
        examples=["."],
    )
    date_format: str = Field(
        default="",
        description="How dates are written (strptime); '' = ISO 8601.",
        examples=["%d.%m.%Y"],
    )
    timestamp_format: str = Field(default="", description="How times are written (strptime); '' = ISO 8601.")
    types: dict[str, str] = Field(
        default={}, description="Types of columns that are no text.", examples=[{"pieces": "integer"}]
    )

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        name = value.lower().replace("_", "-")
        name = _ALIASES.get(name, name)
        if name not in ("utf-8", *WIDE) and not _is_single_byte(name):
            msg = (
                f"{value!r} is no encoding that is read: those are utf-8, utf-16, cp1252, latin-1 and other code pages"
            )
            raise ValueError(msg)
        return name

    @field_validator("date_format", "timestamp_format")
    @classmethod
    def _has_directives(cls, value: str) -> str:
        if value and "%" not in value:
            msg = f"{value!r} names no part of a date: write %d, %m, %Y, %H, %M, %S, such as %d.%m.%Y"
            raise ValueError(msg)
        return value

    @field_validator("delimiter", "quote", "escape", "decimal", "thousands")
    @classmethod
    def _one_character(cls, value: str) -> str:
        if len(value) > 1 or not value.isascii() or value in "\r\n":
            if value == "":
                return value
            msg = f"{value!r} must be one ASCII character"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _agree(self) -> CsvConfig:
        if not self.delimiter or not self.decimal:
            msg = "`delimiter` and `decimal` must be one character"
            raise ValueError(msg)
        if self.header and self.columns:
            msg = "`columns` names the columns of files without a header: say `header: false`, or leave it out"
            raise ValueError(msg)
        if not self.header and not self.columns:
            msg = "`header: false` needs `columns: [a, b, ...]`"
            raise ValueError(msg)
        marks = [m for m in (self.delimiter, self.quote, self.escape) if m]
        if len(set(marks)) != len(marks) and self.escape != self.quote:
            msg = "`delimiter`, `quote` and `escape` must differ"
            raise ValueError(msg)
        if unknown := [word for word in self.types.values() if type_of(word) is None]:
            msg = f"`types`: {unknown[0]!r} is no type; write integer, decimal(12,2), date, timestamp, ..."
            raise ValueError(msg)
        if self.decimal == self.thousands:
            msg = f"`decimal` and `thousands` are both {self.decimal!r}"
            raise ValueError(msg)
        return self


class ReadyConfig(SourceConfig):
    """When a file is taken to be complete."""

    stable_for: Duration | None = Field(
        default=None,
        description="Size and time unchanged for so long.",
        examples=["2s"],
    )
    marker: str | None = Field(
        default=None,
        description="A file that says so: the file's name with this ending, or this name in its folder.",
        examples=[".done"],
    )


class MoveConfig(SourceConfig):
    """`after: {move: folder}`."""

    move: str = Field(
        description="Where files go, relative to the project folder; in a bucket, a prefix.", examples=["done"]
    )


class S3Config(SourceConfig):
    """How a bucket is reached; what is left out comes from the environment (AWS_ACCESS_KEY_ID, ...)."""

    endpoint: str | None = Field(
        default=None, description="URL of an S3-compatible service.", examples=["http://localhost:9000"]
    )
    region: str | None = Field(default=None, description="The bucket's region.", examples=["eu-central-1"])
    access_key_id: str | None = Field(default=None, description="Key.", examples=["${S3_KEY}"])
    secret_access_key: str | None = secret(default=None, description="Secret.", examples=["${S3_SECRET}"])
    session_token: str | None = secret(default=None, description="Token of a temporary key.")


class FilesConfig(SourceConfig):
    """A folder or bucket in which files appear."""

    positions_order_versions: ClassVar[bool] = False

    path: str = Field(description="The folder, relative to the project's, or s3://bucket/prefix.", examples=["drops"])
    match: str | None = Field(
        default=None, description="Glob below path; ** descends. Default: all known endings.", examples=["**/*.csv*"]
    )
    format: Literal["csv", "jsonl", "json", "parquet"] | None = Field(
        default=None, description="Default: by the file's ending."
    )
    csv: CsvConfig = Field(default=CsvConfig(), description="How CSV files are written.")
    ready: ReadyConfig = Field(
        default=ReadyConfig(), description="When a file is complete; default: stable for 1s, in a bucket at once."
    )
    after: Literal["keep", "delete"] | MoveConfig = Field(
        default="keep",
        description="What becomes of a file that was read.",
    )
    same_content: Literal["skip", "load"] = Field(
        default="skip", description="What to do with a read content under a new name."
    )
    max_file_size: ByteSize = Field(
        10 * 10**9, description="Larger files (unpacked) are refused whole.", examples=["10GB"]
    )
    max_line_size: ByteSize = Field(
        16 << 20, description="Longer rows of text formats are refused.", examples=["16MiB"]
    )
    s3: S3Config = Field(default=S3Config(), description="How a bucket is reached.")

    @model_validator(mode="after")
    def _move_stays_near(self) -> FilesConfig:
        if isinstance(self.after, MoveConfig) and self.after.move.startswith("s3://"):
            bucket = "/".join(self.path.split("/")[:3])
            if not self.path.startswith("s3://") or not f"{self.after.move}/".startswith(f"{bucket}/"):
                msg = f"`after: move` goes to {self.after.move!r}; files are moved within their bucket or folders only"
                raise ValueError(msg)
        return self
