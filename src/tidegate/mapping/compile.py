"""From what the configuration says to maps that can run, or to every problem with its place. Pure.

Everything that can be known before an order comes is checked here: names, types from step to step, tables, expressions,
and whether the target's connector takes the field at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, cast

import msgspec

from tidegate.mapping.expressions import Expression, ExpressionError, Expressions, cel_expressions
from tidegate.mapping.paths import (
    HOOK_PLACES,
    LINE_PREFIX,
    Flow,
    ValueType,
    is_target,
    own_source,
    sources_of,
)
from tidegate.mapping.problems import MapProblem, Place
from tidegate.mapping.records import Hooks, Maps
from tidegate.mapping.references import HOOK_REFERENCE, Files
from tidegate.mapping.tables import Table, read_inline, read_tables
from tidegate.mapping.transforms import BuiltStep, TransformError, build_step
from tidegate.sdk.connector import Target

OnMissing = Literal["fail", "skip", "default", "hold"]
_KEYWORDS = ("from", "value", "const", "transform", "table", "when", "default", "on_missing")
RULES_MAX = 500
_ENGINE = 1
"""Raise it when the same map gives another result than before."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How one target gets its value. The first rule of a target whose condition holds is used."""

    path: str
    source: str | None
    """Path of the value; None with `expression` or `const`."""
    expression: Expression | None
    const: str | None
    steps: tuple[BuiltStep | Table, ...]
    condition: Expression | None
    default: str | None
    on_missing: OnMissing
    chars_max: int | None
    """What the target takes; more is refused, never cut."""
    written: str
    """The rule as people read it."""

    @property
    def is_of_lines(self) -> bool:
        """Whether it is applied to each line."""
        return self.path.startswith(LINE_PREFIX)


@dataclass(frozen=True, kw_only=True)
class FlowMap:
    """The map of one flow. Applying it is pure, total and bounded."""

    flow: Flow
    rules: tuple[tuple[Rule, ...], ...] = ()
    """The rules of each target."""
    hooks: Mapping[str, str] = field(default_factory=dict)
    """Place (`order`, `lines`, `decide`) -> `module:function`."""

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.rules or self.hooks)


@dataclass(frozen=True, kw_only=True)
class CompiledMaps:
    """All maps of a configuration version."""

    orders: FlowMap
    shipments: FlowMap
    tables: Mapping[str, Table]
    digest: bytes
    """Over the maps, the tables, the hooks' code and options: the version of the mapping."""

    def of(self, flow: Flow) -> FlowMap:
        """Return the map of a flow."""
        return self.orders if flow == "orders" else self.shipments


def has_hooks(maps: CompiledMaps) -> bool:
    """Whether any flow has a Python hook."""
    return bool(maps.orders.hooks or maps.shipments.hooks)


Targets = Mapping[Flow, Sequence[Sequence[Target]]]
"""Flow -> what each connector that it goes to declares; a flow that is not there is not checked for that."""


def compile_maps(
    maps: Maps, tables: Mapping[str, Any], hooks: Hooks, *, files: Files | None = None, targets: Targets | None = None
) -> tuple[CompiledMaps, list[MapProblem]]:
    """Return the maps, and what is wrong with them; with problems the maps are of no use.

    `files` None: the contents of tables in files are not looked at. `targets` None: neither is what connectors take.
    """
    read, problems = read_tables(tables, files)
    compiled = CompiledMaps(
        orders=_compile_flow("orders", maps.orders, read, (targets or {}).get("orders"), problems),
        shipments=_compile_flow("shipments", maps.shipments, read, (targets or {}).get("shipments"), problems),
        tables=read,
        digest=digest_maps(maps, tables, hooks, files or {}),
    )
    return compiled, problems


def digest_maps(maps: Maps, tables: Mapping[str, Any], hooks: Hooks, files: Files) -> bytes:
    """Return the version of a mapping. The order of keys does not matter, but for that of a list of rules."""
    parts = (_ENGINE, maps, tables, hooks, dict(files))
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).digest()


def _compile_flow(
    flow: Flow,
    raw: Mapping[str, Any],
    tables: Mapping[str, Table],
    targets: Sequence[Sequence[Target]] | None,
    problems: list[MapProblem],
) -> FlowMap:
    if len(raw) > RULES_MAX:
        problems.append(MapProblem(place=("maps", flow), message=f"a map has at most {RULES_MAX} targets"))
        return FlowMap(flow=flow)
    rules: list[tuple[Rule, ...]] = []
    found_hooks: dict[str, str] = {}
    for path, entry in raw.items():
        place: Place = ("maps", flow, path)
        if path in HOOK_PLACES[flow]:
            if isinstance(entry, str) and HOOK_REFERENCE.fullmatch(entry):
                found_hooks[path] = entry
            else:
                hint = "write module:function, for example: acme.flows:explode_gift_boxes"
                problems.append(MapProblem(place=place, message=f"{path!r} names a Python hook", hint=hint))
            continue
        if not is_target(flow, path):
            problems.append(_unknown_target(flow, path, place, targets))
            continue
        declared = [_declared(path, each) for each in targets or ()]
        if targets is not None and None in declared:
            problems.append(_unknown_target(flow, path, place, targets))
            continue
        limits = [target.chars_max for target in declared if target is not None and target.chars_max is not None]
        reader = _RuleReader(flow, path, tables, problems, chars_max=min(limits, default=None))
        entries = entry if isinstance(entry, list) else [entry]
        if not entries or len(entries) > 50:
            problems.append(MapProblem(place=place, message=f"{path!r} needs 1 to 50 rules"))
        read = [
            reader.read(one, (*place, index) if isinstance(entry, list) else place) for index, one in enumerate(entries)
        ]
        rules.append(tuple(rule for rule in read if rule is not None))
    rules.sort(key=lambda each: each[0].path if each else "")
    return FlowMap(flow=flow, rules=tuple(rules), hooks=found_hooks)


def _declared(path: str, targets: Iterable[Target]) -> Target | None:
    return next((target for target in targets if target.path == path), None)


def _unknown_target(flow: Flow, path: str, place: Place, targets: Sequence[Sequence[Target]] | None) -> MapProblem:
    known = sorted(set.intersection(*({target.path for target in each} for each in targets))) if targets else []
    near = get_close_matches(path, [*known, *HOOK_PLACES[flow]], n=1, cutoff=0.6)
    if near:
        hint = f"did you mean {near[0]!r}?"
    else:
        hint = f"it takes: {', '.join(known)}" if known else "`tidegate map show` lists what it takes"
    where = "the target of this flow takes no" if is_target(flow, path) else "a map has no target"
    return MapProblem(place=place, message=f"{where} {path!r}", hint=hint, is_key=True)


class _RuleReader:
    """Reads the rules of one target."""

    def __init__(
        self, flow: Flow, path: str, tables: Mapping[str, Table], problems: list[MapProblem], *, chars_max: int | None
    ) -> None:
        self._path = path
        self._tables = tables
        self._problems = problems
        self._chars_max = chars_max
        self._sources = sources_of(flow, is_line=path.startswith(LINE_PREFIX))
        self._has_lines = flow == "orders"
        self._count = len(problems)

    def read(self, raw: Any, place: Place) -> Rule | None:
        """Return the rule, None when there is something wrong with it."""
        before = len(self._problems)
        if isinstance(raw, str):
            rule = self._rule({"value": raw}, place, written=raw, single=True)
        elif isinstance(raw, dict) and raw and not raw.keys() & set(_KEYWORDS):
            rule = self._rule({"table": raw}, place, written="inline table", single=True)
        elif isinstance(raw, dict) and raw:
            rule = self._rule(raw, place, written=_written(raw))
        else:
            hint = "write an expression, a table, or {from: path, transform: [trim]}"
            self._refuse(place, f"{self._path!r} has no rule", hint)
            rule = None
        return rule if len(self._problems) == before else None

    def _rule(self, raw: Mapping[str, Any], place: Place, *, written: str, single: bool = False) -> Rule | None:
        def at(key: str) -> Place:
            return place if single else (*place, key)

        for key in raw:
            if key not in _KEYWORDS:
                near = get_close_matches(str(key), _KEYWORDS, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"a rule has: {', '.join(_KEYWORDS)}"
                problem = MapProblem(place=(*place, key), message=f"a rule has no key {key!r}", hint=hint, is_key=True)
                self._problems.append(problem)
        origins = [key for key in ("from", "value", "const") if key in raw]
        if len(origins) > 1:
            self._refuse(place, f"a rule has one of {' and '.join(origins)}, not both", "take one away")
        source, expression, const, kind = self._origin(raw, at)
        steps, kind = self._steps(raw, kind, at)
        condition = self._condition(raw["when"], at("when")) if "when" in raw else None
        default = self._default(raw, at)
        on_missing = raw.get("on_missing", "default" if default is not None else "fail")
        if on_missing not in ("fail", "skip", "default", "hold"):
            self._refuse(at("on_missing"), f"on_missing cannot be {on_missing!r}", "write fail, skip, default or hold")
        if on_missing == "default" and default is None:
            self._refuse(at("on_missing"), "on_missing: default needs a default", 'add for example: default: "POST"')
        return Rule(
            path=self._path,
            source=source,
            expression=expression,
            const=const,
            steps=steps,
            condition=condition,
            default=default,
            on_missing=cast("OnMissing", on_missing),
            chars_max=self._chars_max,
            written=written,
        )

    def _origin(self, raw: Mapping[str, Any], at: Any) -> tuple[str | None, Expression | None, str | None, ValueType]:
        if "const" in raw:
            const = raw["const"]
            if not isinstance(const, str):
                self._refuse(at("const"), "const must be a text", "put it in quotes")
            return None, None, str(const), ValueType.TEXT
        if "value" in raw:
            expression = self._expression(raw["value"], at("value"))
            kind = (expression.returns if expression is not None else None) or ValueType.TEXT
            if kind is ValueType.BOOLEAN:
                hint = "write a choice, for example: total == '0' ? 'A' : 'B'"
                self._refuse(at("value"), "it gives true or false, and a text is needed", hint)
            return None, expression, None, kind
        source = raw.get("from", own_source(self._path))
        if source is None:
            self._refuse(
                at("from"), f"{self._path!r} needs a source", "add from: path, value: expression or const: text"
            )
            return None, None, None, ValueType.TEXT
        if not isinstance(source, str) or source not in self._sources:
            near = get_close_matches(str(source), list(self._sources), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "`tidegate map show` lists the sources"
            self._refuse(at("from"), f"there is no source {source!r}", hint)
            return None, None, None, ValueType.TEXT
        return source, None, None, self._sources[source]

    def _steps(
        self, raw: Mapping[str, Any], kind: ValueType, at: Any
    ) -> tuple[tuple[BuiltStep | Table, ...], ValueType]:
        listed = raw.get("transform", [])
        entries = listed if isinstance(listed, list) else [listed]
        if len(entries) > 20:
            self._refuse(at("transform"), "a rule has at most 20 transforms")
            return (), kind
        steps: list[BuiltStep | Table] = []
        for index, entry in enumerate(entries):
            place = (*at("transform"), index) if isinstance(listed, list) else at("transform")
            if isinstance(entry, dict) and entry.keys() == {"table"}:
                step: BuiltStep | Table | None = self._table(entry["table"], (*place, "table"))
                takes = gives = ValueType.TEXT
            else:
                step = self._built(entry, place)
                if step is None:
                    continue
                takes, gives = step.takes, step.gives
            kind = self._fits(kind, takes, place, entry)
            if step is not None:
                steps.append(step)
            kind = gives
        if "table" in raw:
            table = self._table(raw["table"], at("table"))
            kind = self._fits(kind, ValueType.TEXT, at("table"), "table")
            if table is not None:
                steps.append(table)
        return tuple(steps), kind

    def _built(self, entry: Any, place: Place) -> BuiltStep | None:
        try:
            return build_step(entry)
        except TransformError as error:
            self._refuse(place, str(error), error.hint)
            return None

    def _fits(self, kind: ValueType, takes: ValueType, place: Place, entry: Any) -> ValueType:
        """A whole number is a text where one is needed; nothing else changes its type by itself."""
        if kind is not takes and not (kind is ValueType.INTEGER and takes is ValueType.TEXT):
            name = entry if isinstance(entry, str) else next(iter(entry), "")
            hint = {ValueType.MONEY: "put `amount` before it", ValueType.MOMENT: "put `date` before it"}.get(kind)
            self._refuse(place, f"{name!r} takes a {takes}, and here it would get a {kind}", hint)
        return takes

    def _table(self, raw: Any, place: Place) -> Table | None:
        if isinstance(raw, dict):
            if not raw:
                self._refuse(place, "the table has no entries")
            return read_inline(raw, place, self._problems)
        if isinstance(raw, str) and raw in self._tables:
            table = self._tables[raw]
            if table.rows is not None:
                self._refuse(place, f"table {raw!r} has rows, and only hooks can use those", "take `rows` away")
            return table
        near = get_close_matches(str(raw), list(self._tables), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "add it under `tables`"
        self._refuse(place, f"there is no table {raw!r}", hint)
        return None

    def _condition(self, raw: Any, place: Place) -> Expression | None:
        condition = self._expression(raw, place)
        if condition is not None and condition.returns not in (ValueType.BOOLEAN, None):
            self._refuse(place, f"a condition gives true or false, and this gives a {condition.returns}")
        return condition

    def _expression(self, raw: Any, place: Place) -> Expression | None:
        if not isinstance(raw, str):
            self._refuse(place, "an expression must be a text", "put it in quotes")
            return None
        language: Expressions = cel_expressions(self._sources, has_lines=self._has_lines)
        try:
            return language.compile(raw)
        except ExpressionError as error:
            near = _nearest(str(error), self._sources)
            hint = f"did you mean {near!r}?" if near else "texts stand in quotes of their own: \"'WEB-' + number\""
            self._problems.append(MapProblem(place=place, message=str(error), hint=hint, position=error.position))
            return None

    def _default(self, raw: Mapping[str, Any], at: Any) -> str | None:
        default = raw.get("default")
        if default is not None and not isinstance(default, str):
            self._refuse(at("default"), "default must be a text", "put it in quotes")
            return None
        return default

    def _refuse(self, place: Place, message: str, hint: str | None = None) -> None:
        self._problems.append(MapProblem(place=place, message=message, hint=hint))


def _nearest(message: str, sources: Iterable[str]) -> str | None:
    word = message.split("'")[1] if message.count("'") >= 2 else ""
    near = get_close_matches(word, list(sources), n=1, cutoff=0.6)
    return near[0] if near else None


def _written(raw: Mapping[str, Any]) -> str:
    return msgspec.json.encode(raw).decode()[:200]
