"""One property of a contract as a column: its type, and the rules that act on a single row.

What the property says beyond that is named as not acted on. Texts of bounds and allowed values are taken from the file
as written, since a detour through double would change decimals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from open_data_contract_standard.model import DataQuality, SchemaProperty

from penstock import sqltypes
from penstock.project.bounds import bound, leaves_nothing, number
from penstock.project.columntypes import INTEGER_FORMATS, is_iso, resolve, strptime_format
from penstock.project.errors import BadName, BadRule, NothingActs
from penstock.project.expressions import ExpressionChecker
from penstock.project.model import Column
from penstock.project.yamlfile import Document, KeyPath, Node, Problems
from penstock.sqltypes import SqlType

_BOUNDS = {
    "minimum": "minimum", "maximum": "maximum",
    "exclusiveMinimum": "exclusive_minimum", "exclusiveMaximum": "exclusive_maximum",
}  # fmt: skip
_ACTED_ON = {"type", "pattern", "minLength", "maxLength", "multipleOf", "format", *_BOUNDS}


@dataclass
class ColumnReader:
    """Reads one property, which stands at `path` of the document."""

    document: Document
    path: KeyPath
    stream: str
    version_3_0: bool
    expressions: ExpressionChecker
    problems: Problems
    not_acted_on: list[str] = field(default_factory=list)

    def read(self, model: SchemaProperty) -> Column:
        """Returns the column; errors go to the problems and what is not acted on to `not_acted_on`."""
        self.name = model.name or ""
        if self.name.startswith("_") or not self.name.strip():
            found = f"'{self.name}' cannot be a property's name"
            hint = "names that begin with _ are Penstock's own; rename it and map it under the source's `fields`"
            self.problems.error(BadName(found, hint=hint, place=self.document.place((*self.path, "name"))))
        resolved = resolve(model.logicalType, model.physicalType, version_3_0=self.version_3_0)
        if resolved.ignored:
            self.ignore(f"{resolved.ignored} is not read; the type is {resolved.type}")
        type_, rules = self.format(resolved.type, model)
        rules |= self.bounds(type_, rules)
        if type_.kind == "text":
            rules |= self.text_rules(resolved.max_length)
        self.name_the_rest(model)
        return Column(
            name=self.name,
            type=type_,
            required=bool(model.required or model.primaryKey),
            unique=bool(model.unique),
            enum=self.allowed(model, type_),
            description=model.description or "",
            classification=model.classification or "",
            place=self.document.place((*self.path, "name")),
            **rules,
        )

    def ignore(self, what: str) -> None:
        sentence = f"{self.stream}.{self.name}: {what}"
        self.not_acted_on.append(sentence)
        self.problems.warn(NothingActs(sentence, place=self.document.place(self.path)))

    def option(self, key: str) -> Node | None:
        return self.document.node((*self.path, "logicalTypeOptions", key))

    def wrong(self, key: str, found: str, hint: str = "") -> None:
        place = self.document.place((*self.path, "logicalTypeOptions", key))
        self.problems.error(BadRule(f"{self.stream}.{self.name}: {found}", hint=hint, place=place))

    def format(self, type_: SqlType, model: SchemaProperty) -> tuple[SqlType, dict[str, Any]]:
        """Returns the type as `format` narrows it, and the rules that come with it."""
        node = self.option("format")
        form = str(node.value) if node is not None else ""
        if not form:
            return type_, {}
        if type_.kind in ("date", "timestamp", "time"):
            return type_, self.date_format(form)
        if model.logicalType == "integer" and form in INTEGER_FORMATS:
            narrowed, low, high = INTEGER_FORMATS[form]
            chosen = type_ if model.physicalType else narrowed
            return chosen, {
                "minimum": bound("minimum", str(low), chosen),
                "maximum": bound("maximum", str(high), chosen),
            }
        if model.logicalType == "number" and form in ("f32", "f64") and not model.physicalType:
            return sqltypes.DOUBLE, {}
        if type_.kind in ("text", "uuid") and form == "uuid":
            return sqltypes.UUID, {}
        self.ignore(f"format '{form}' is not checked")
        return type_, {}

    def date_format(self, form: str) -> dict[str, Any]:
        words = strptime_format(form)
        if words is None:
            self.ignore(f"format '{form}' is not read; ISO 8601 is expected, or a format that the source names")
        return {"date_format": words} if words and not is_iso(words) else {}

    def bounds(self, type_: SqlType, given: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the bounds and the divisor of a number or time; the tighter one where the format gives one too."""
        found: dict[str, Any] = {}
        for key, name in _BOUNDS.items():
            node = self.option(key)
            if node is None or isinstance(node.value, bool):
                continue
            name = self.exclusive(name)
            try:
                value = bound(name, node.text, type_)
            except ValueError as e:
                self.wrong(key, f"{key} '{node.text}' {e}")
                continue
            implied = given.get(name)
            if value is not None and implied is not None:
                value = str((max if name == "minimum" else min)(number(value), number(implied)))
            found[name] = value if value is not None else implied
        self.check_range({**given, **found}, type_)
        divisor = self.option("multipleOf")
        if divisor is not None and type_.kind != "json":
            found["multiple_of"] = self.divisor(divisor, type_)
        return found

    def exclusive(self, name: str) -> str:
        """Returns which bound `name` is: in 3.0, `exclusiveMinimum: true` makes `minimum` exclusive."""
        flag = self.option(f"exclusive{name.title()}") if self.version_3_0 else None
        return f"exclusive_{name}" if flag is not None and flag.value is True else name

    def check_range(self, rules: Mapping[str, Any], type_: SqlType) -> None:
        for low in ("minimum", "exclusive_minimum"):
            for high in ("maximum", "exclusive_maximum"):
                exclusive = "exclusive" in low or "exclusive" in high
                if leaves_nothing(rules.get(low), rules.get(high), exclusive, type_):
                    key = next((k for k in _BOUNDS if self.option(k) is not None), "minimum")
                    found = f"no value lies between {rules[low]} and {rules[high]}"
                    self.wrong(key, found, "mend the bounds")

    def divisor(self, node: Node, type_: SqlType) -> str | None:
        if not (type_.is_exact_number or type_.kind == "double"):
            self.wrong("multipleOf", f"multipleOf is for numbers; this is {type_}")
            return None
        try:
            value = number(node.text)
        except ValueError as e:
            self.wrong("multipleOf", f"multipleOf '{node.text}' {e}")
            return None
        if value <= 0:
            self.wrong("multipleOf", f"multipleOf '{node.text}' is not above 0")
            return None
        return format(value, "f")

    def text_rules(self, longest: int | None) -> dict[str, Any]:
        """Returns the lengths and the pattern of a text."""
        rules: dict[str, Any] = {"max_length": longest} if longest else {}
        least, most = self.option("minLength"), self.option("maxLength")
        if least is not None and isinstance(least.value, int | float):
            rules["min_length"] = int(least.value)
        if most is not None and isinstance(most.value, int | float):
            rules["max_length"] = min(int(most.value), longest) if longest else int(most.value)
        if rules.get("min_length", 0) > rules.get("max_length", 2**31):
            self.wrong("minLength", f"no text is {rules['min_length']} to {rules['max_length']} characters long")
        pattern = self.option("pattern")
        if pattern is not None and isinstance(pattern.value, str):
            rules["pattern"] = pattern.value
            wrong = self.expressions.pattern(pattern.value)
            if wrong:
                hint = "patterns are RE2's: no look-around, no back-references"
                self.wrong("pattern", f"pattern '{pattern.value}' cannot be run: {wrong}", hint)
        return rules

    def allowed(self, model: SchemaProperty, type_: SqlType) -> tuple[str, ...] | None:
        """Returns the allowed values as the file writes them: of all places that name some, the common ones."""
        lists = [*self.custom_enum(model), *self.listed_enum(), *self.quality_enum(model)]
        if not lists:
            return None
        common = tuple(dict.fromkeys(v for v in lists[0] if all(v in other for other in lists)))
        if not common:
            place = self.document.place(self.path)
            self.problems.error(
                BadRule(f"{self.stream}.{self.name}: no value is allowed by all its rules", place=place)
            )
        return tuple(self.fitting(common, type_))

    def fitting(self, values: tuple[str, ...], type_: SqlType) -> list[str]:
        fits = []
        for value in values:
            try:
                fits.append(format(number(value), "f") if type_.is_exact_number else value)
            except ValueError:
                found = f"{self.stream}.{self.name}: the allowed value '{value}' is not of the type {type_}"
                self.problems.error(BadRule(found, place=self.document.place(self.path)))
        return fits

    def custom_enum(self, model: SchemaProperty) -> list[list[str]]:
        found = []
        for index, custom in enumerate(model.customProperties or ()):
            path = (*self.path, "customProperties", index, "value")
            node = self.document.node(path)
            if custom.property != "enum" or node is None:
                continue
            if node.kind != "sequence" or not node.sequence:
                hint = "write value: [a, b, c]"
                self.problems.error(BadRule("enum is not a list of values", hint=hint, place=self.document.place(path)))
            else:
                found.append(_texts(node))
        return found

    def listed_enum(self) -> list[list[str]]:
        """Returns the values of 3.2's `enum`; before it had that meaning the key means nothing."""
        node = self.document.node((*self.path, "enum"))
        if node is None or self.version_3_0:
            return []
        values = [entry.child("value") for entry in node.sequence]
        return [[_text(v) for v in values if v is not None]]

    def quality_enum(self, model: SchemaProperty) -> list[list[str]]:
        found = []
        quality = self.document.node((*self.path, "quality"))
        for index, node in enumerate(quality.sequence if quality else ()):
            values = valid_values(node)
            rule = model.quality[index] if model.quality and index < len(model.quality) else None
            if values is not None and tolerates_nothing(node):
                found.append(_texts(values))
            else:
                self.ignore(describe_quality(node, rule))
        return found

    def name_the_rest(self, model: SchemaProperty) -> None:
        options = self.document.node((*self.path, "logicalTypeOptions"))
        for key in options.mapping if options else ():
            if key not in _ACTED_ON:
                self.ignore(f"logicalTypeOptions.{key} is not acted on")
        for key, said in (
            ("properties", "the properties inside it are not checked"),
            ("items", "the items are not checked"),
            ("map", "keys and values are not checked"),
            ("relationships", "relationships are not checked"),
            ("encryptedName", "encryptedName is not acted on"),
            ("transformLogic", "transformLogic is not run; a source's `fields` map values"),
            ("partitioned", "partitioned is not acted on"),
        ):
            value = getattr(model, key)
            if value:
                self.ignore(said)


def _text(node: Node) -> str:
    """Returns a scalar as the database writes it: true, false, numbers as written."""
    return str(node.value).lower() if isinstance(node.value, bool) else node.text


def _texts(node: Node) -> list[str]:
    """Returns the values of a list; null is no value that a rule could allow (`required` decides it)."""
    return [_text(n) for n in node.sequence if n.kind == "scalar" and n.value is not None]


def valid_values(rule: Node) -> Node | None:
    """Returns the list of valid values of a library rule: `validValues` of 3.0, its argument since 3.1."""
    arguments = rule.child("arguments")
    word = rule.child("metric") or rule.child("rule")
    name = str(word.value) if word is not None else ""
    values = (arguments.child("validValues") if arguments else None) or rule.child("validValues")
    known = name in ("invalidValues", "validValues") and values is not None and values.kind == "sequence"
    return values if known else None


def tolerates_nothing(rule: Node) -> bool:
    """Whether a rule that counts bad rows allows none of them, so that it acts on each row."""
    operators = {k: v for k, v in rule.mapping.items() if k.startswith(("mustBe", "mustNotBe"))}
    least = {"mustBe": 0, "mustBeLessOrEqualTo": 0, "mustBeLessThan": 1}
    if not operators:
        return True
    name = next(iter(operators))
    unit = rule.child("unit")
    if name == "mustBeLessThan" and unit is not None and unit.value == "percent":
        return False
    return len(operators) == 1 and name in least and operators[name].value == least[name]


def describe_quality(node: Node, rule: DataQuality | None) -> str:
    """Returns what a quality rule is, in words, for the list of what is not acted on."""
    words = [n for n in (node.child("metric"), node.child("rule"), node.child("type")) if n is not None]
    kind = str(words[0].value) if words else "text"
    title = f" '{rule.name}'" if rule is not None and rule.name else ""
    return f"the quality rule {kind}{title} is over the whole set and is not checked"
