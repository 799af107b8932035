"""A configuration as a document again, each value with where it comes from. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from tidegate.config.document import Document, Path
from tidegate.config.records import Config

_PLAIN = re.compile(r"[A-Za-z_/][\w./@-]*(?::/[\w./:@-]*)?")
_WORDS = frozenset(("true", "false", "null"))
COMMENT_COLUMN = 56


def render(config: Config, document: Document, *, base: Config, why_now: str = "", show_defaults: bool = False) -> str:
    """Return `config` as YAML that reads back as itself. What does not stand in the file says where it comes from.

    `document` is the file's, `base` what it says without regard to the time; `why_now` names what changed it for now.
    """
    tree = _tree(config)
    origins = _Origins(document, _tree(base), _tree(Config()), why_now)
    return "".join(f"{line}\n" for line in _mapping(tree, (), 0, origins, show_defaults=show_defaults))


class _Origins:
    """Says of each value where it comes from."""

    def __init__(self, document: Document, base: Mapping[str, Any], defaults: Mapping[str, Any], why_now: str) -> None:
        self._document = document
        self._base = base
        self._defaults = defaults
        self._why_now = why_now

    def is_default(self, path: Path, value: Any) -> bool:
        """Whether nobody said it, and it is as it is without a file."""
        said = path in self._document.values or path in self._document.filled
        return not said and (value is None or _at(self._defaults, path) == value or _at(self._base, path) is None)

    def of(self, path: Path, value: Any) -> str:
        """Return the comment behind a value."""
        if _at(self._base, path) != value:
            return f"  # {self._why_now}"
        if path in self._document.values:
            return ""
        return "  # preset" if path in self._document.filled else "  # default"


def _tree(config: Config) -> dict[str, Any]:
    tree: dict[str, Any] = msgspec.to_builtins(config, builtin_types=(datetime,))
    tree["connections"] = {name: {"use": one["use"], **one["options"]} for name, one in tree["connections"].items()}
    return tree


def _mapping(
    part: Mapping[str, Any], path: Path, depth: int, origins: _Origins, *, show_defaults: bool
) -> Iterator[str]:
    indent = "  " * depth
    for key, value in part.items():
        place = (*path, key)
        if isinstance(value, Mapping) and value:
            inner = list(_mapping(value, place, depth + 1, origins, show_defaults=show_defaults))
            if inner:
                yield f"{indent}{_scalar(key)}:"
                yield from inner
        elif value is not None and (show_defaults or not (value in ([], {}) or origins.is_default(place, value))):
            line = f"{indent}{_scalar(key)}: {_inline(value)}"
            comment = origins.of(place, value)
            yield f"{line:<{COMMENT_COLUMN}}{comment}" if comment else line


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_inline(one)}" for key, one in value.items() if one is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(one) for one in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, datetime):
        text = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
        return f"{text}Z"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value not in _WORDS:
        return value
    return json.dumps(value)


def _at(tree: Any, path: Path) -> Any:
    for step in path:
        if not isinstance(tree, Mapping) or step not in tree:
            return None
        tree = tree[step]
    return tree
