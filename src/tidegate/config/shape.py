"""The shape of the configuration: which keys exist, which type each value has, and that no value is a secret. Pure."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Union, get_args, get_origin

import msgspec

from tidegate.config.document import Document, Path, Problem
from tidegate.config.records import Config, ConnectionConfig, OversellStep

_LISTS: tuple[Path, ...] = (
    ("flows", "orders", "from"),
    ("flows", "stock", "to"),
    ("flows", "stock", "oversell"),
    ("flows", "events", "to"),
    ("flows", "events", "types"),
    ("network", "allow"),
    *(("flows", flow, "blackout") for flow in ("orders", "shipments", "payments", "stock", "events")),
    ("groups", "*"),
    ("reconcile", "*", "blackout"),
    *(("alerts", "routes", severity) for severity in ("critical", "warning", "info")),
)
"""Places where one value may stand for a list of one; `*` is any name."""
_SECRET_NAME = re.compile(
    r"(?:^|[_.-])(?:password|passwd|passphrase|secret|token|api_?key|access_?key|private_?key|credentials?)$",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(r"whsec_|-----BEGIN |://[^/@\s]*:[^/@\s]+@")
_MOVE_IT = "take it out; `tidegate connect NAME` asks for it and stores it encrypted"
_MISFIT_PLACE = re.compile(r" - at `(?:key in )?\$?(.*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_EACH: Mapping[str, type] = {"groups": dict, "profiles": dict, "overrides": list, "lanes": dict, "reconcile": dict}
"""Parts whose entries are converted one by one, and what each must be."""
_WORD = re.compile(r"[a-z][a-z0-9_]{0,39}")
_OPTION_TYPES = (str, int, float, bool)


def find_unknown_keys(document: Document) -> list[Problem]:
    """Return a problem for every key that the configuration does not have, with the nearest one that it has."""
    return list(_unknown_keys(Config, _widen(document.root, ()), (), document))


def find_secrets(document: Document, secret_names: frozenset[str]) -> list[Problem]:
    """Return a problem for every key or value that looks like a secret. The value is never repeated."""
    found: dict[Path, Problem] = {}
    for path, value in _leaves(document.root, ()):
        name = next((step for step in reversed(path) if isinstance(step, str)), "")
        if name in secret_names or _SECRET_NAME.search(name):
            message = f"{name!r} is a secret, and secrets are never in this file"
        elif isinstance(value, str) and _SECRET_VALUE.search(value):
            message = f"the value of {name!r} has a secret in it, and secrets are never in this file"
        else:
            continue
        found[path] = Problem(mark=document.mark_of(path), message=message, hint=_MOVE_IT)
    return list(found.values())


def build(document: Document) -> tuple[Config | None, list[Problem]]:
    """Return the typed configuration, or None with one problem for each part that does not fit its type."""
    problems: list[Problem] = []
    parts: dict[str, Any] = {}
    for field in msgspec.structs.fields(Config):
        if field.encode_name not in document.root:
            continue
        raw = document.root[field.encode_name]
        path: Path = (field.encode_name,)
        if field.name == "connections":
            parts[field.name] = _connections(raw, document, problems)
        elif field.name == "flows" and isinstance(raw, dict):
            parts[field.name] = _sections(field.type, raw, path, document, problems)
        elif isinstance(raw, _EACH.get(field.name, ())):
            parts[field.name] = _each(raw, get_args(field.type), path, document, problems)
        else:
            parts[field.name] = _convert(raw, field.type, path, document, problems)
    return (None, problems) if problems else (Config(**parts), problems)


def suggest(word: str, known: Iterator[str] | list[str]) -> str | None:
    """Return a hint that names the nearest known word, or all of them when none is near."""
    choices = sorted(known)
    near = get_close_matches(word, choices, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known here: {', '.join(choices)}" if choices else None


def _unknown_keys(kind: Any, value: Any, path: Path, document: Document) -> Iterator[Problem]:
    known = _members(kind)
    for key, inner in _entries(value):
        if known is None or not isinstance(key, str):
            yield from _unknown_keys(_entry_kind(kind, value), inner, (*path, key), document)
        elif key in known:
            yield from _unknown_keys(known[key], inner, (*path, key), document)
        else:
            place = ".".join(str(step) for step in path)
            where = f" in {place!r}" if place else ""
            yield Problem(
                mark=document.mark_of_key((*path, key)),
                message=f"there is no key {key!r}{where}",
                hint=suggest(key, list(known)),
            )


def _entries(value: Any) -> list[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _members(kind: Any) -> dict[str, Any] | None:
    """Return the keys of a struct with the type of each, None for what is no struct."""
    struct = _struct_of(kind)
    return None if struct is None else {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


def _entry_kind(kind: Any, value: Any) -> Any:
    """Return the type of the entries of a list or of a mapping that stands where `kind` is wanted."""
    for option in _options(kind):
        arguments = get_args(option)
        if get_origin(option) is tuple and isinstance(value, list):
            return arguments[0]
        if get_origin(option) is Mapping and isinstance(value, dict) and arguments[1] is not ConnectionConfig:
            return arguments[1]
    return None


def _options(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    for option in _options(kind):
        if isinstance(option, type) and issubclass(option, msgspec.Struct) and option is not ConnectionConfig:
            return option
    return None


def _only_known(kind: Any, value: Any) -> Any:
    """Leave out the keys that do not exist: each has a problem of its own already."""
    known = _members(kind)
    if isinstance(value, dict):
        inner_kind = _entry_kind(kind, value)
        return {
            key: _only_known(known[key] if known is not None else inner_kind, inner)
            for key, inner in value.items()
            if known is None or key in known
        }
    if isinstance(value, list):
        return [_only_known(_entry_kind(kind, value), inner) for inner in value]
    return value


def _sections(kind: Any, raw: Mapping[str, Any], path: Path, document: Document, problems: list[Problem]) -> Any:
    """Convert the members of a struct one by one, so that each can have its own problem."""
    parts = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name in raw:
            place = (*path, field.encode_name)
            parts[field.name] = _convert(raw[field.encode_name], field.type, place, document, problems)
    return kind(**parts)


def _each(raw: Any, kinds: tuple[Any, ...], path: Path, document: Document, problems: list[Problem]) -> Any:
    """Convert the entries of a list or of a mapping one by one, so that each can have its own problem."""
    if isinstance(raw, list):
        return tuple(_convert(inner, kinds[0], (*path, index), document, problems) for index, inner in enumerate(raw))
    for key in raw:
        if not _WORD.fullmatch(key):
            mark = document.keys[(*path, key)]
            hint = "use small letters, digits and _, beginning with a letter"
            problems.append(Problem(mark=mark, message=f"{key!r} cannot be a name in {path[0]!r}", hint=hint))
    return {key: _convert(inner, kinds[1], (*path, key), document, problems) for key, inner in raw.items()}


def _connections(raw: Any, document: Document, problems: list[Problem]) -> dict[str, ConnectionConfig]:
    if raw is None:  # every entry is commented out
        return {}
    if not isinstance(raw, dict):
        mark = document.mark_of(("connections",))
        problems.append(Problem(mark=mark, message="connections must be a list of `name: {use: connector, ...}` lines"))
        return {}
    return {name: _connection(name, entry, document, problems) for name, entry in raw.items()}


def _connection(name: str, entry: Any, document: Document, problems: list[Problem]) -> ConnectionConfig:
    path: Path = ("connections", name)
    if not isinstance(entry, dict) or not isinstance(entry.get("use"), str):
        problems.append(
            Problem(
                mark=document.mark_of(path),
                message=f"connection {name!r} does not say which connector it uses",
                hint="write for example: {use: vendure, url: http://127.0.0.1:3000}",
            )
        )
        return ConnectionConfig(use="")
    options = {key: value for key, value in entry.items() if key != "use"}
    problems.extend(
        Problem(
            mark=document.mark_of((*path, key)),
            message=f"{key!r} of connection {name!r} must be one word, number or true/false",
        )
        for key, value in options.items()
        if not isinstance(value, _OPTION_TYPES)
    )
    return ConnectionConfig(use=entry["use"], options=options)


def _convert(raw: Any, kind: Any, path: Path, document: Document, problems: list[Problem]) -> Any:
    if raw is None and (empty := _empty_of(kind)) is not None:
        raw = empty  # `network:` with everything below it commented out
    value = _widen(raw, path)
    try:
        return msgspec.convert(_only_known(kind, value), kind)
    except msgspec.ValidationError as error:
        problems.append(_misfit(str(error), path, document))
        return None


def _empty_of(kind: Any) -> Any:
    """Return the empty value of a part that is a struct, a mapping or a list, None for anything else."""
    if _struct_of(kind) is not None:
        return {}
    return {Mapping: {}, tuple: []}.get(get_origin(kind))


def _is_list(path: Path) -> bool:
    return any(
        len(place) == len(path) and all(want in ("*", have) for want, have in zip(place, path, strict=True))
        for place in _LISTS
    )


def _widen(raw: Any, path: Path) -> Any:
    """Make a list of one where a single value stands for it."""
    if isinstance(raw, str | dict) and _is_list(path):
        raw = [raw]
    if isinstance(raw, dict):
        return {key: _widen(value, (*path, key)) for key, value in raw.items()}
    return raw


def _misfit(message: str, path: Path, document: Document) -> Problem:
    match = _MISFIT_PLACE.search(message)
    place = path
    for word, number in _STEP.findall(match[1]) if match else []:
        step: str | int = word or int(number)
        joined = (*place[:-1], f"{place[-1]}.{word}") if word and place else ()
        is_dotted = place not in document.values and joined in document.values
        place = joined if is_dotted else (*place, step)
    name = ".".join(str(step) for step in place)
    text, hint = _in_words(_MISFIT_PLACE.sub("", message), name)
    return Problem(mark=document.mark_of(place), message=f"{name} {text}", hint=hint)


def _in_words(text: str, name: str) -> tuple[str, str | None]:
    """Return what a type check found in the operator's words, and what to do about it."""
    missing = _MISSING.search(text)
    if missing:
        return f"needs {missing[1]!r}", None
    if name.rpartition(".")[2] in _UNIT_WORDS:
        return _UNIT_WORDS[name.rpartition(".")[2]]
    if text.startswith("Invalid enum value"):
        known = "modes are: observe, propose, live"
        if name == "preset":
            known = "presets are: shop-and-erp, stock-only, none"
        elif name.rpartition(".")[0] == "flows.stock.oversell":
            known = f"policies are: {', '.join(get_args(OversellStep))}"
        elif ".heal." in name:
            known = "policies are: auto, approve, report"
        return f"cannot be {text.removeprefix('Invalid enum value ')}", known
    if "matching regex" in text and "[smhd]" in text:
        return "must be a length of time", "write for example 90s, 30m, 8h or 2d"
    if "Expected `object`" in text:
        return "must be `key: value` lines", None
    for expected, got, words, hint in _TYPE_WORDS:
        if f"Expected `{expected}" in text and f"got `{got}`" in text:
            return words, hint
    return f"is not as expected: {text[:1].lower()}{text[1:]}", None


_UNIT_WORDS = {
    "buffer": ("must be off, auto, or how many units", "write for example auto, or 3"),
    "oversell_max": ("must be a share of what can be sold, or how many units", "write for example 10%, or 5"),
}
_MISSING = re.compile(r"missing required field `([^`]+)`")
_TYPE_WORDS = (
    ("str", "bool", "must be a text", "put it in quotes"),
    ("str", "int", "must be a text", "put it in quotes"),
    ("int", "str", "must be a number", "take the quotes away"),
    ("bool", "str", "must be true or false", None),
    ("datetime", "str", "must be a date", "write for example 2026-11-01"),
    ("array", "str", "must be a list", "write for example [shop_a, shop_b]"),
)


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path, value
