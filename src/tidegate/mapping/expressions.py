"""Conditions and computed values: CEL, checked when the configuration is, bounded by itself when it runs.

CEL has no recursion and no loops without end. The compiler limits depth, the evaluation limits iterations, patterns are
matched in linear time (RE2), and nothing that makes texts may stand beside a loop: so time and memory are bounded. What
goes wrong while it runs is a value, never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import cache
from typing import Any, Protocol

import msgspec

from tidegate.mapping.paths import TEXT_CHARS_MAX, ValueType
from tidegate.mapping.transforms import ascii_text, digits, slug, squeeze, trim

SOURCE_BYTES_MAX = 2048
_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_LOOP = re.compile(r"\.\s*(?:map|filter|all|exists|exists_one)\s*\(")
_GROWS = re.compile(r"\+|\b(?:upper|lower|trim|squeeze|ascii|slug|digits|truncate|string|bytes)\s*\(")
"""What makes new texts. Beside a loop it is refused: ten thousand iterations of it would take gigabytes."""
_EXACT = Context(prec=34, traps=[Inexact, InvalidOperation])


class ExpressionError(Exception):
    """An expression that cannot be used; says why and where in its text (position in characters)."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


class Failure(msgspec.Struct, frozen=True):
    """What went wrong while an expression ran."""

    reason: str


class Expression(Protocol):
    """A compiled expression."""

    returns: ValueType | None
    """Type of its result; None when that is only known when it runs."""

    def __call__(self, values: Mapping[str, Any]) -> str | int | bool | Failure:
        """Return its result for these values. Total."""
        ...


class Expressions(Protocol):
    """A language of expressions over some variables."""

    def compile(self, source: str) -> Expression:
        """Return the compiled expression. Raises ExpressionError with the place."""
        ...


def cel_expressions(variables: Mapping[str, ValueType], *, has_lines: bool) -> Expressions:
    """Return CEL over these variables; money and moments are texts there, `lines` is a list of maps."""
    return _environment(tuple(sorted(variables.items())), has_lines)


@cache
def _environment(variables: tuple[tuple[str, ValueType], ...], has_lines: bool) -> Expressions:
    return _Cel(dict(variables), has_lines=has_lines)


class _Cel:
    """CEL through Google's C++ implementation; loaded at the first use, 25 ms and 50 MB of library."""

    def __init__(self, variables: Mapping[str, ValueType], *, has_lines: bool) -> None:
        from cel_expr_python import cel  # type: ignore[import-untyped]  # noqa: PLC0415 - slow, and seldom needed

        kinds = cel.Type
        types = {name: kinds.INT if kind is ValueType.INTEGER else kinds.STRING for name, kind in variables.items()}
        if has_lines:
            types["lines"] = kinds.List(kinds.Map(kinds.STRING, kinds.DYN))
        self._names = tuple(variables)
        self._environment = cel.NewEnv(variables=types, functions=_functions(cel))
        self._results = {
            kinds.STRING.name(): ValueType.TEXT,
            kinds.INT.name(): ValueType.INTEGER,
            kinds.BOOL.name(): ValueType.BOOLEAN,
            kinds.DYN.name(): None,
        }

    def compile(self, source: str) -> Expression:
        if len(source.encode()) > SOURCE_BYTES_MAX:
            raise ExpressionError(f"an expression has at most {SOURCE_BYTES_MAX} bytes")
        if not source.strip():
            raise ExpressionError("an expression needs a text")
        growth = _GROWS.search(source) if _LOOP.search(source) else None
        if growth is not None:
            message = f"{growth[0].rstrip('( ')!r} makes texts, and beside a loop over lines there must be none"
            raise ExpressionError(f"{message}: use dec_add for amounts, and a second rule with `when`", growth.start())
        try:
            compiled = self._environment.compile(source)
            kind = compiled.return_type().name()
        except Exception as error:  # the binding raises RuntimeError and others of its own
            message, position = _explain(str(error), source)
            raise ExpressionError(message, position) from error
        if kind not in self._results:
            raise ExpressionError(f"it gives a {kind.lower()}, and a text, a whole number or true/false is needed")
        return _CelExpression(compiled, self._results[kind])


class _CelExpression:
    def __init__(self, compiled: Any, returns: ValueType | None) -> None:
        self._compiled = compiled
        self.returns = returns

    def __call__(self, values: Mapping[str, Any]) -> str | int | bool | Failure:
        try:
            result = self._compiled.eval(data=values)
            if result.type().name() == "ERROR":
                return Failure(_first_line(str(result.value())))
            value = result.value()
        except Exception as error:  # a budget that is used up, or a value that CEL cannot take
            return Failure(_first_line(str(error)))
        if isinstance(value, str):
            if len(value) > TEXT_CHARS_MAX:
                return Failure(f"the text has more than {TEXT_CHARS_MAX} characters")
            return value
        return value if isinstance(value, bool | int) else Failure("it gave no text, whole number or true/false")


def _explain(text: str, source: str) -> tuple[str, int]:
    """Return the first message of CEL in our words, and its position in the source."""
    found = _PLACE.search(text)
    if found is None:
        return _first_line(text), 0
    line, column = max(1, int(found[1])), max(1, int(found[2]))
    lines = source.split("\n")
    position = sum(len(each) + 1 for each in lines[: line - 1]) + column - 1
    message = found[3].removesuffix(" [INVALID_ARGUMENT]").replace(" (in container '')", "")
    if unknown := re.match(r"undeclared reference to '([^']*)'", message):
        message = f"there is no value or function {unknown[1]!r} here"
    return message[:300], min(position, len(source))


def _first_line(text: str) -> str:
    line = text.strip().split("\n", 1)[0]
    return re.sub(r"^[A-Z_]+: ", "", line)[:300]


# --- functions -----------------------------------------------------------------------------------------------------
def _functions(cel: Any) -> list[Any]:
    text, whole, texts = cel.Type.STRING, cel.Type.INT, cel.Type.List(cel.Type.DYN)
    table: Sequence[tuple[str, Callable[..., Any], Any, tuple[Any, ...]]] = (
        ("upper", str.upper, text, (text,)),
        ("lower", str.lower, text, (text,)),
        ("trim", trim, text, (text,)),
        ("squeeze", squeeze, text, (text,)),
        ("ascii", ascii_text, text, (text,)),
        ("slug", slug, text, (text,)),
        ("digits", digits, text, (text,)),
        ("truncate", _truncate, text, (text, whole)),
        ("dec_add", lambda a, b: _decimal_text(_EXACT.add(_decimal(a), _decimal(b))), text, (text, text)),
        ("dec_sub", lambda a, b: _decimal_text(_EXACT.subtract(_decimal(a), _decimal(b))), text, (text, text)),
        ("dec_mul", lambda a, b: _decimal_text(_EXACT.multiply(_decimal(a), _decimal(b))), text, (text, text)),
        ("dec_cmp", lambda a, b: int(_decimal(a).compare(_decimal(b))), whole, (text, text)),
        ("dec_sum", _sum, text, (texts,)),
    )
    return [
        cel.FunctionDecl(
            name, [cel.Overload(f"{name}_{len(takes)}", return_type=gives, parameters=list(takes), impl=run)]
        )
        for name, run, gives, takes in table
    ]


FUNCTIONS: Mapping[str, str] = {
    "upper(text), lower(text), trim(text), squeeze(text), ascii(text), slug(text), digits(text)": "as the transforms",
    "truncate(text, n)": "at most n characters",
    "dec_add(a, b), dec_sub(a, b), dec_mul(a, b)": "exact arithmetic on amounts, which are texts",
    "dec_cmp(a, b)": "-1, 0 or 1",
    "dec_sum(lines.map(l, l.total))": "exact sum",
}
"""What an expression may call besides CEL's own functions; for help texts."""


def _truncate(text: str, length: int) -> str:
    return text[: max(0, length)]


def _decimal(text: str) -> Decimal:
    if not re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,12})?", text):
        raise ValueError(f"{text[:30]!r} is no amount")
    return Decimal(text)


def _decimal_text(value: Decimal) -> str:
    return format(value, "f")


def _sum(values: Sequence[Any]) -> str:
    total = Decimal(0)
    for value in values:
        total = _EXACT.add(total, _decimal(str(value.value() if hasattr(value, "value") else value)))
    return _decimal_text(total)
