"""Stripe's form bodies and queries: nested parameters with brackets. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def flatten(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return nested parameters as flat pairs: `{"metadata": {"a": 1}, "expand": ["x"]}` is `metadata[a]=1&expand[0]=x`."""
    return dict(_pairs(parameters))


def _pairs(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in parameters.items():
        yield from _values(name, value)


def _values(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _values(f"{name}[{key}]", inner)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _values(f"{name}[{index}]", inner)
    elif isinstance(value, bool):
        yield name, "true" if value else "false"
    else:
        yield name, str(value)
