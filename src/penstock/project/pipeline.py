"""pipelines/*.sql: a header and one SELECT. The SELECT itself is the planner's business."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from penstock.project.checked import check_model
from penstock.project.model import PipelineFile
from penstock.project.sqlfile import parse_order, split_sql
from penstock.project.values import TimeZone
from penstock.project.variables import Variables, fill_in
from penstock.project.yamlfile import Problems


def _is_order(value: str) -> str:
    parse_order(value)
    return value


OrderedColumn = Annotated[str, AfterValidator(_is_order)]
"""A column of the result, `desc` after it or not."""


class PipelineHeader(BaseModel):
    """The opening comment of a pipeline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = Field(default="", description="What the table says, for people")
    late: Literal["restate", "set_aside"] = Field(
        default="restate",
        description="Whether a late row changes the answer of its window (`restate`) or is counted and kept out",
        examples=["set_aside"],
    )
    timezone: TimeZone | None = Field(
        default=None, description="What a day is; default: the project's", examples=["Europe/Berlin"]
    )
    indexes: list[Annotated[list[OrderedColumn], Field(min_length=1)]] = Field(
        default=[],
        description="Indexes of the result table, each a list of columns",
        examples=[[["salesman_id", "date"], ["total_sales desc"]]],
    )
    renamed_from: str | None = Field(
        default=None, description="The pipeline's name before this one: its table goes along", examples=["top_sales"]
    )


def read_pipeline(
    name: str, text: str, file: str, timezone: str, variables: Variables, problems: Problems
) -> PipelineFile | None:
    """Returns the pipeline of a file's text, or None; what is wrong goes to `problems`."""
    sql = split_sql(text, file, problems)
    if sql is None:
        return None
    header = fill_in(sql.header, variables, problems)
    model = check_model(PipelineHeader, header, problems)
    if model is None:
        return None
    return PipelineFile(
        name=name,
        sql=sql.text,
        sql_line=sql.line,
        description=model.description,
        late=model.late,
        late_given="late" in model.model_fields_set,
        timezone=model.timezone or timezone,
        indexes=tuple(tuple(parse_order(column) for column in index) for index in model.indexes),
        renamed_from=model.renamed_from,
        place=header.place(),
    )
