"""The functions a pipeline may call: deterministic ones whose result we can type; and how sqlglot names them.

`name_and_arguments` undoes sqlglot's classes: it gives DuckDB's own function name and argument order. Plain functions
take their type from DuckDB; those that read a calendar get wall-clock times; `special.py` builds the rest.
"""

from __future__ import annotations

from sqlglot import exp

_CLASSES: dict[type[exp.Expr], tuple[str, tuple[str, ...]]] = {
    exp.Lower: ("lower", ("this",)), exp.Upper: ("upper", ("this",)), exp.Length: ("length", ("this",)),
    exp.Left: ("left", ("this", "expression")), exp.Right: ("right", ("this", "expression")),
    exp.Substring: ("substring", ("this", "start", "length")), exp.Reverse: ("reverse", ("this",)),
    exp.Replace: ("replace", ("this", "expression", "replacement")), exp.Repeat: ("repeat", ("this", "times")),
    exp.Concat: ("concat", ("expressions",)), exp.ConcatWs: ("concat_ws", ("expressions",)),
    exp.StartsWith: ("starts_with", ("this", "expression")), exp.EndsWith: ("ends_with", ("this", "expression")),
    exp.Contains: ("contains", ("this", "expression")), exp.StrPosition: ("instr", ("this", "substr")),
    exp.SplitPart: ("split_part", ("this", "delimiter", "part_index")),
    exp.RegexpLike: ("regexp_matches", ("this", "expression", "flag")),
    exp.RegexpFullMatch: ("regexp_full_match", ("this", "expression", "options")),
    exp.RegexpReplace: ("regexp_replace", ("this", "expression", "replacement", "modifiers")),
    exp.RegexpExtract: ("regexp_extract", ("this", "expression", "group")),
    exp.Ascii: ("ascii", ("this",)), exp.Chr: ("chr", ("expressions",)), exp.Unicode: ("unicode", ("this",)),
    exp.MD5: ("md5", ("this",)), exp.SHA2: ("sha256", ("this",)),
    exp.Translate: ("translate", ("this", "from_", "to")), exp.Levenshtein: ("levenshtein", ("this", "expression")),
    exp.Year: ("year", ("this",)), exp.Month: ("month", ("this",)), exp.Day: ("day", ("this",)),
    exp.DayOfMonth: ("day", ("this",)), exp.Hour: ("hour", ("this",)), exp.Minute: ("minute", ("this",)),
    exp.Second: ("second", ("this",)), exp.Quarter: ("quarter", ("this",)), exp.Week: ("week", ("this",)),
    exp.WeekOfYear: ("week", ("this",)), exp.DayOfWeekIso: ("isodow", ("this",)),
    exp.DayOfWeek: ("dayofweek", ("this",)),
    exp.DayOfYear: ("dayofyear", ("this",)), exp.Dayname: ("dayname", ("this",)),
    exp.Monthname: ("monthname", ("this",)),
    exp.LastDay: ("last_day", ("this",)), exp.TimeToStr: ("strftime", ("this", "format")),
    exp.StrToTime: ("strptime", ("this", "format")), exp.DateDiff: ("date_diff", ("unit", "expression", "this")),
    exp.DateAdd: ("date_add", ("this", "expression")), exp.DateFromParts: ("make_date", ("year", "month", "day")),
    exp.TimeToUnix: ("epoch", ("this",)), exp.TimestampTrunc: ("date_trunc", ("unit", "this")),
    exp.DateTrunc: ("date_trunc", ("unit", "this")),
    exp.DateBin: ("time_bucket", ("this", "expression", "unit", "origin")),
    exp.Date: ("date", ("this",)), exp.Extract: ("date_part", ("this", "expression")),
    exp.Abs: ("abs", ("this",)), exp.Ceil: ("ceil", ("this",)), exp.Floor: ("floor", ("this",)),
    exp.Round: ("round", ("this", "decimals")), exp.Trunc: ("trunc", ("this", "decimals")),
    exp.Sign: ("sign", ("this",)), exp.Sqrt: ("sqrt", ("this",)), exp.Cbrt: ("cbrt", ("this",)),
    exp.Pow: ("pow", ("this", "expression")), exp.Exp: ("exp", ("this",)), exp.Ln: ("ln", ("this",)),
    exp.Coalesce: ("coalesce", ("this", "expressions")), exp.Nullif: ("nullif", ("this", "expression")),
    exp.Greatest: ("greatest", ("this", "expressions")), exp.Least: ("least", ("this", "expressions")),
    exp.Sin: ("sin", ("this",)), exp.Cos: ("cos", ("this",)), exp.Tan: ("tan", ("this",)),
    exp.Asin: ("asin", ("this",)), exp.Acos: ("acos", ("this",)), exp.Atan: ("atan", ("this",)),
    exp.Atan2: ("atan2", ("this", "expression")), exp.Radians: ("radians", ("this",)),
    exp.Degrees: ("degrees", ("this",)), exp.Pi: ("pi", ()),
}  # fmt: skip

_ALIASES = {
    "len": "length", "substr": "substring", "ifnull": "coalesce", "power": "pow", "ceiling": "ceil",
    "datepart": "date_part", "datediff": "date_diff", "datesub": "date_sub", "datetrunc": "date_trunc",
    "dow": "dayofweek", "doy": "dayofyear", "weekday": "dayofweek", "weekofyear": "week",
    "dayofmonth": "day", "strpos": "instr",
    "string_split_part": "split_part", "lcase": "lower", "ucase": "upper",
}  # fmt: skip

TEXT_FUNCTIONS = frozenset(
    ["lower", "upper", "trim", "ltrim", "rtrim", "length", "strlen", "left", "right", "substring", "replace",
     "reverse", "repeat", "lpad", "rpad", "concat", "concat_ws", "starts_with", "ends_with", "suffix", "prefix",
     "contains", "instr", "split_part", "regexp_matches", "regexp_full_match", "regexp_replace", "regexp_extract",
     "ascii", "chr", "unicode", "md5", "sha256", "translate", "levenshtein", "strip_accents"]
)  # fmt: skip
CALENDAR_FUNCTIONS = frozenset(
    ["year", "month", "day", "hour", "minute", "second", "quarter", "week", "isodow", "dayofweek", "dayofyear",
     "yearweek", "isoyear", "dayname", "monthname", "date_part", "last_day", "strftime", "date_diff",
     "date_sub", "decade",
     "century", "millennium", "era", "millisecond", "microsecond"]
)  # fmt: skip
INSTANT_FUNCTIONS = frozenset(["epoch", "epoch_ms", "epoch_us", "epoch_ns", "isfinite", "isinf"])
"""They count from 1970 in UTC, in any zone."""
MAKE_FUNCTIONS = frozenset(["make_date", "strptime", "try_strptime"])
DOUBLE_FUNCTIONS = frozenset(
    ["sqrt", "cbrt", "pow", "exp", "ln", "log10", "log2", "sin", "cos", "tan", "asin", "acos", "atan", "atan2",
     "radians", "degrees", "pi"]
)  # fmt: skip
NULL_IN_NULL_OUT = TEXT_FUNCTIONS - {"concat", "concat_ws", "regexp_extract", "split_part"} | CALENDAR_FUNCTIONS
SPECIAL_FUNCTIONS = frozenset(
    ["date_trunc", "time_bucket", "date", "timezone", "date_add", "abs", "ceil", "floor", "round", "trunc", "sign",
     "mod", "coalesce", "nullif", "greatest", "least", "if", "unix_to_time", "log"]
)  # fmt: skip
KNOWN = TEXT_FUNCTIONS | CALENDAR_FUNCTIONS | INSTANT_FUNCTIONS | MAKE_FUNCTIONS | DOUBLE_FUNCTIONS | SPECIAL_FUNCTIONS

_NOT_DETERMINISTIC = frozenset(
    ["now", "today", "random", "rand", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "nextval", "currval", "setseed",
     "current_date", "current_time", "current_timestamp", "current_localtimestamp", "current_localtime",
     "localtimestamp", "localtime", "get_current_time", "get_current_timestamp", "transaction_timestamp", "age",
     "current_user", "user", "session_user", "current_schema", "current_database", "version", "txid_current"]
)  # fmt: skip
_NOT_DETERMINISTIC_CLASSES = (
    exp.Rand, exp.Uuid, exp.CurrentDate, exp.CurrentTime, exp.CurrentTimestamp, exp.CurrentUser, exp.Localtime,
    exp.Localtimestamp, exp.CurrentSchema, exp.CurrentDatetime,
)  # fmt: skip


_SHOWN: dict[type, str] = {
    exp.GroupConcat: "string_agg", exp.ArrayAgg: "list", exp.PercentileCont: "quantile_cont",
    exp.PercentileDisc: "quantile_disc", exp.ApproxDistinct: "approx_count_distinct", exp.Rand: "random",
}  # fmt: skip


def function_name(node: exp.Expr) -> str:
    """Returns the name a user would know the function by."""
    if isinstance(node, exp.Anonymous):
        return str(node.this).lower()
    known = _CLASSES.get(type(node))
    if type(node) in _SHOWN:
        return _SHOWN[type(node)]
    return known[0] if known else str(getattr(node, "sql_name", lambda: type(node).__name__)()).lower()


def is_not_deterministic(node: exp.Expr) -> bool:
    return isinstance(node, _NOT_DETERMINISTIC_CLASSES) or function_name(node) in _NOT_DETERMINISTIC


def name_and_arguments(node: exp.Expr) -> tuple[str, list[exp.Expr]] | None:
    """Returns DuckDB's name of a function call and its arguments in DuckDB's order; None when it is not known."""
    if isinstance(node, exp.Anonymous):
        name = str(node.this).lower()
        return _ALIASES.get(name, name), list(node.expressions)
    if isinstance(node, exp.Trim):
        side = str(node.args.get("position") or "").upper()
        name = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(side, "trim")
        return name, _arguments(node, ("this", "expression"))
    if isinstance(node, exp.Pad):
        return "lpad" if node.args.get("is_left") else "rpad", _arguments(node, ("this", "expression", "fill_pattern"))
    if isinstance(node, exp.Log):
        return "log", _arguments(node, ("this", "expression"))
    if isinstance(node, exp.UnixToTime):
        scale = node.args.get("scale")
        return "unix_to_time", [node.this, *([scale] if scale is not None else [])]
    known = _CLASSES.get(type(node))
    return (known[0], _arguments(node, known[1])) if known else None


def argument_names(node: exp.Expr) -> frozenset[str]:
    """Returns the arguments that `name_and_arguments` reads of a node."""
    known = _CLASSES.get(type(node))
    return frozenset(known[1]) if known else frozenset()


def _arguments(node: exp.Expr, keys: tuple[str, ...]) -> list[exp.Expr]:
    found: list[exp.Expr] = []
    for key in keys:
        value = node.args.get(key)
        found += value if isinstance(value, list) else [value] if value is not None else []
    return found
