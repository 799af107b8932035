"""The registry of transforms: named, typed, total and bounded functions over one value. Pure.

A transform never guesses: what it cannot do exactly it refuses with words, and the rule's `on_missing` does not hide that.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any
from zoneinfo import ZoneInfo

from tidegate.mapping.countries import ALPHA2_OF, ALPHA3_OF
from tidegate.mapping.paths import TEXT_CHARS_MAX, Value, ValueType

Run = Callable[[Any], Value]
"""Value of the declared type -> value. Raises ValueError with words for people."""


class TransformError(Exception):
    """A step of the configuration is not right; the text says why, `hint` what to write."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class Transform:
    """One entry of the registry."""

    name: str
    takes: ValueType
    gives: ValueType
    build: Callable[[Any], Run]
    """Parameter of the configuration (None for none) -> the function. Raises TransformError."""
    usage: str
    """As it is written, with an example of the parameter."""
    says: str
    """What it does, in a few words."""


@dataclass(frozen=True, kw_only=True)
class BuiltStep:
    """A transform with its parameter."""

    name: str
    takes: ValueType
    gives: ValueType
    run: Run


def build_step(raw: object) -> BuiltStep:
    """Return the step that a configuration entry describes: `upper`, or `{truncate: 20}`. Raises TransformError."""
    name, parameter = _read(raw)
    found = REGISTRY.get(name)
    if found is None:
        near = get_close_matches(name, list(REGISTRY), n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(REGISTRY))}"
        raise TransformError(f"there is no transform {name!r}", hint)
    return BuiltStep(name=name, takes=found.takes, gives=found.gives, run=found.build(parameter))


def _read(raw: object) -> tuple[str, object]:
    if isinstance(raw, str):
        return raw, None
    if isinstance(raw, dict) and len(raw) == 1:
        ((name, parameter),) = raw.items()
        return str(name), parameter
    raise TransformError("a transform is a name, or one `name: parameter`", "write for example: [trim, {truncate: 20}]")


# --- parameters ----------------------------------------------------------------------------------------------------
def _bare(name: str, run: Run) -> Callable[[Any], Run]:
    def build(parameter: Any) -> Run:
        if parameter is not None:
            raise TransformError(f"{name} takes no parameter", f"write just: {name}")
        return run

    return build


def _number(name: str, parameter: Any, *, low: int, high: int) -> int:
    if not isinstance(parameter, int) or isinstance(parameter, bool) or not low <= parameter <= high:
        raise TransformError(f"{name} needs a whole number from {low} to {high}", f"write for example: {{{name}: 20}}")
    return parameter


def _text(name: str, parameter: Any, *, chars_max: int = 200) -> str:
    if not isinstance(parameter, str) or not parameter or len(parameter) > chars_max:
        raise TransformError(f"{name} needs a text", f'write for example: {{{name}: "WEB-"}}')
    return parameter


def _keys(name: str, parameter: Any, known: Mapping[str, type]) -> dict[str, Any]:
    if not isinstance(parameter, dict) or not parameter or not parameter.keys() <= known.keys():
        words = ", ".join(f"{key}: ..." for key in known)
        raise TransformError(f"{name} needs {{{words}}}", f"see `tidegate map transforms {name}`")
    for key, value in parameter.items():
        if not isinstance(value, known[key]) or isinstance(value, bool):
            raise TransformError(f"{key} of {name} must be a {'text' if known[key] is str else 'whole number'}")
    return parameter


# --- text ----------------------------------------------------------------------------------------------------------
def trim(text: str) -> str:
    """Return the text without white space around it."""
    return text.strip()


def squeeze(text: str) -> str:
    """Return the text with every run of white space as one space, and none around it."""
    return " ".join(text.split())


def ascii_text(text: str) -> str:
    """Return the text with accents taken off; letters that have no plain form are left out."""
    expanded = text.translate(_LETTERS)
    return unicodedata.normalize("NFKD", expanded).encode("ascii", "ignore").decode()


_LETTERS = {ord(key): value for key, value in {
    "ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o", "Ø": "O",
    "œ": "oe", "Œ": "Oe", "đ": "d", "Đ": "D", "ł": "l", "Ł": "L", "þ": "th", "Þ": "Th",
}.items()}  # fmt: skip


def slug(text: str) -> str:
    """Return small letters, digits and single dashes."""
    return re.sub(r"[^a-z0-9]+", "-", ascii_text(text).lower()).strip("-")


def digits(text: str) -> str:
    """Return the digits of the text, as text: leading zeros stay."""
    return "".join(character for character in text if character in "0123456789")


def _truncate(parameter: Any) -> Run:
    length = _number("truncate", parameter, low=1, high=TEXT_CHARS_MAX)
    return lambda text: text[:length]


def _pad(parameter: Any) -> Run:
    if isinstance(parameter, int):
        parameter = {"width": parameter}
    given = _keys("pad", parameter, {"width": int, "with": str})
    width, filling = _number("pad", given.get("width"), low=1, high=200), given.get("with", "0")
    if len(filling) != 1:
        raise TransformError("`with` of pad must be one character")
    return lambda text: str(text.rjust(width, filling))


def _prefix(parameter: Any) -> Run:
    addition = _text("prefix", parameter)
    return lambda text: addition + text


def _suffix(parameter: Any) -> Run:
    addition = _text("suffix", parameter)
    return lambda text: text + addition


def _without_prefix(parameter: Any) -> Run:
    start = _text("without_prefix", parameter)
    return lambda text: str(text.removeprefix(start))


def _replace(parameter: Any) -> Run:
    """Replace each of up to 20 texts, in the order of the configuration, once over the text each."""
    if not isinstance(parameter, dict) or not 1 <= len(parameter) <= 20:
        raise TransformError("replace needs {old: new, ...}", 'write for example: {replace: {" ": "", "/": "-"}}')
    pairs = [(str(old), new) for old, new in parameter.items()]
    if any(not old or not isinstance(new, str) or len(new) > 200 for old, new in pairs):
        raise TransformError("replace needs texts on both sides, the old one not empty", "put them in quotes")

    def run(text: str) -> str:
        for old, new in pairs:
            text = bounded(text.replace(old, new))
        return text

    return run


def _part(parameter: Any) -> Run:
    given = _keys("part", parameter, {"by": str, "number": int})
    separator, number = _text("part", given.get("by")), _number("part", given.get("number"), low=1, high=100)

    def run(text: str) -> str:
        parts = text.split(separator)
        return parts[number - 1] if number <= len(parts) else ""

    return run


def _country(parameter: Any) -> Run:
    wanted = parameter if parameter is not None else "alpha2"
    if wanted not in ("alpha2", "alpha3"):
        raise TransformError("country gives alpha2 or alpha3", "write for example: {country: alpha3}")

    def run(text: str) -> str:
        code = text.strip().upper()
        alpha2 = code if code in ALPHA3_OF else ALPHA2_OF.get(code)
        if alpha2 is None:
            raise ValueError(f"{text[:20]!r} is no ISO 3166 country code")
        return alpha2 if wanted == "alpha2" else ALPHA3_OF[alpha2]

    return run


def _phone(parameter: Any) -> Run:
    given = _keys("phone", parameter, {"country_code": str, "trunk": str})
    country = digits(_text("phone", given.get("country_code")))
    trunk = given.get("trunk", "0")

    def run(text: str) -> str:
        written = re.sub(r"[\s()./-]", "", text)
        if written.startswith("00"):
            written = "+" + written[2:]
        elif not written.startswith("+") and trunk and written.startswith(trunk):
            written = f"+{country}{written[len(trunk) :]}"
        if not re.fullmatch(r"\+[1-9][0-9]{6,14}", written):
            raise ValueError("the phone number cannot be written as +COUNTRY NUMBER without guessing")
        return written

    return run


# --- numbers and moments -------------------------------------------------------------------------------------------
def _decimal(parameter: Any) -> Run:
    point = parameter if parameter is not None else "."
    if point not in (".", ","):
        raise TransformError('decimal takes "." or "," as the decimal point', 'write for example: {decimal: ","}')
    other = "," if point == "." else "."

    def run(text: str) -> Decimal:
        plain = text.strip()
        if other in plain or not re.fullmatch(r"[+-]?[0-9]{1,15}(?:[.,][0-9]{1,6})?", plain):
            raise ValueError(f"{text[:30]!r} is no decimal number with {point!r} as its point")
        return Decimal(plain.replace(point, "."))

    return run


def _round(parameter: Any) -> Run:
    places = _number("round", parameter, low=0, high=6)
    unit = Decimal(1).scaleb(-places)
    return lambda amount: amount.quantize(unit, ROUND_HALF_UP)


def _times(parameter: Any) -> Run:
    """Multiply by an exact factor, given as text."""
    try:
        factor = Decimal(_text("times", parameter, chars_max=20))
    except InvalidOperation as error:
        raise TransformError("times needs a number as text", 'write for example: {times: "-1"}') from error
    if not factor.is_finite() or abs(factor) > 10**6:
        raise TransformError("times needs a number up to a million")

    def run(amount: Decimal) -> Decimal:
        product = amount * factor
        if len(product.as_tuple().digits) > 27:
            raise ValueError("the product has more digits than can be kept exact")
        return product

    return run


def _amount(parameter: Any) -> Run:
    point = parameter if parameter is not None else "."
    if point not in (".", ","):
        raise TransformError('amount writes "." or "," as the decimal point', 'write for example: {amount: ","}')
    return lambda amount: format(amount, "f").replace(".", point)


_DIRECTIVES = frozenset("YmdHMSyjGVu%")


def _date(parameter: Any) -> Run:
    given = {"format": parameter} if isinstance(parameter, str) else parameter
    given = _keys("date", given if given is not None else {"format": "%Y-%m-%d"}, {"format": str, "timezone": str})
    pattern, zone = _text("date", given.get("format"), chars_max=60), _zone(given.get("timezone", "UTC"))
    if set(re.findall(r"%(.?)", pattern, re.DOTALL)) - _DIRECTIVES:
        raise TransformError("date knows %Y %m %d %H %M %S %y %j %G %V %u", 'write for example: {date: "%d.%m.%Y"}')
    return lambda moment: moment.astimezone(zone).strftime(pattern)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except Exception as error:  # ValueError, KeyError, OSError: by kind of bad name
        raise TransformError(f"there is no time zone {name!r}", "write for example Europe/Berlin") from error


def _integer_text(number: int) -> str:
    return str(number)


def bounded(text: str) -> str:
    """Return the text. Raises ValueError when it is longer than a map may make."""
    if len(text) > TEXT_CHARS_MAX:
        raise ValueError(f"the text has more than {TEXT_CHARS_MAX} characters")
    return text


def to_text(value: Value) -> str:
    """Return a value as a target takes it: money with the digits it has, a moment as ISO 8601. Exact."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def _entry(
    name: str,
    build: Callable[[Any], Run],
    says: str,
    usage: str = "",
    *,
    kinds: tuple[ValueType, ValueType] | None = None,
) -> Transform:
    takes, gives = kinds or (ValueType.TEXT, ValueType.TEXT)
    return Transform(name=name, takes=takes, gives=gives, build=build, usage=usage or name, says=says)


_T, _M, _I, _D = ValueType.TEXT, ValueType.MONEY, ValueType.INTEGER, ValueType.MOMENT
REGISTRY: Mapping[str, Transform] = {
    entry.name: entry
    for entry in (
        _entry("trim", _bare("trim", trim), "takes white space around it off"),
        _entry("squeeze", _bare("squeeze", squeeze), "makes each run of white space one space"),
        _entry("upper", _bare("upper", str.upper), "makes capital letters"),
        _entry("lower", _bare("lower", str.lower), "makes small letters"),
        _entry("ascii", _bare("ascii", ascii_text), "takes accents off: Müller is Mueller"),
        _entry("slug", _bare("slug", slug), "small letters, digits and dashes"),
        _entry("digits", _bare("digits", digits), "keeps the digits, as text"),
        _entry("truncate", _truncate, "cuts after so many characters", "{truncate: 20}"),
        _entry("pad", _pad, "fills up on the left", '{pad: {width: 8, with: "0"}}'),
        _entry("prefix", _prefix, "puts a text in front", '{prefix: "WEB-"}'),
        _entry("suffix", _suffix, "puts a text behind", '{suffix: "-EU"}'),
        _entry("without_prefix", _without_prefix, "takes a text in front off", '{without_prefix: "WEB-"}'),
        _entry("replace", _replace, "replaces texts, in order", '{replace: {" ": "", "/": "-"}}'),
        _entry("part", _part, "one part of a divided text, counted from 1", '{part: {by: "-", number: 1}}'),
        _entry("country", _country, "an ISO 3166 code as alpha2 or alpha3", "{country: alpha3}"),
        _entry("phone", _phone, "a phone number as +COUNTRY NUMBER", '{phone: {country_code: "49", trunk: "0"}}'),
        _entry("decimal", _decimal, "reads an exact decimal number", '{decimal: ","}', kinds=(_T, _M)),
        _entry("round", _round, "rounds half up to so many digits", "{round: 2}", kinds=(_M, _M)),
        _entry("times", _times, "multiplies by an exact factor", '{times: "-1"}', kinds=(_M, _M)),
        _entry("amount", _amount, "writes a number with this decimal point", '{amount: ","}', kinds=(_M, _T)),
        _entry("date", _date, "writes a moment", '{date: {format: "%d.%m.%Y", timezone: Europe/Berlin}}', kinds=(_D, _T)),
        _entry("text", _bare("text", _integer_text), "writes a whole number", kinds=(_I, _T)),
    )
}  # fmt: skip
"""Name -> transform."""
