"""The page of the configuration names every key that there is, with its default, and no other."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from typing import Any, Union, get_args, get_origin

import msgspec
import yaml

from tests.house.repository import ROOT
from tidegate.config import parse
from tidegate.config.records import Config, ConnectionConfig, Recurrence

PAGE = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([^`]+)` \| (.+?) \| (.+) \|$", re.MULTILINE)
DOCUMENTED_ELSEWHERE = ("alerts",)
NO_VALUE = (None, (), {})


def keys(kind: Any = Config, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key with its default; NODEFAULT where it is required."""
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    for option in options:
        arguments = get_args(option)
        if get_origin(option) is tuple:
            yield from keys(arguments[0], f"{path}[]")
        elif get_origin(option) is Mapping:
            yield from keys(arguments[1], f"{path}.NAME")
        elif option is ConnectionConfig:
            yield from ((f"{path}.use", msgspec.NODEFAULT), (f"{path}.OPTION", None))
        elif option is Recurrence:
            continue
        elif isinstance(option, type) and issubclass(option, msgspec.Struct):
            for field in msgspec.structs.fields(option):
                place = f"{path}.{field.encode_name}".removeprefix(".")
                inner = list(keys(field.type, place)) if place not in DOCUMENTED_ELSEWHERE else [(f"{place}.*", None)]
                yield from inner
                if not inner:
                    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory
                    yield place, default() if callable(default) else default


def documented() -> dict[str, str]:
    return {key: default for key, default, _ in ROW.findall(PAGE)}


def test_every_key_has_its_row_and_every_row_its_key() -> None:
    windows = {f"*.{field.encode_name}" for field in msgspec.structs.fields(Recurrence)}

    assert documented().keys() == {key for key, _ in keys()} | windows


def test_the_defaults_are_those_of_the_code() -> None:
    wrong = {}
    for key, default in keys():
        said = documented()[key]
        if default is msgspec.NODEFAULT and "required" not in said:
            wrong[key] = said
        elif default is not msgspec.NODEFAULT and default not in NO_VALUE:
            word = str(default).lower() if isinstance(default, bool) else str(default)
            if said != f"`{word}`":
                wrong[key] = said

    assert wrong == {}


def test_the_examples_are_valid() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    around = "connections: {shop: {use: vendure}, erp: {use: tryton}}\nowns: {stock.on_hand: erp}\n"
    around += "flows: {stock: {from: erp, to: shop}}\ngroups: {gifts: [A]}\n"

    assert len(blocks) == 2
    for block in blocks:
        assert isinstance(yaml.safe_load(block), dict)
        parse(block if "connections" in block else around + block)
