"""Reads YAML into plain values and remembers where each of them stands.

Stricter than YAML: no aliases, no tags, no duplicate keys, text keys only, `true`/`false` as the only booleans
(so that `no` stays the country), dates as aware UTC moments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

import yaml

DEPTH_MAX = 12
DOCUMENT_CHARS_MAX = 1 << 20
SHOWN_CHARS_MAX = 60

Path: TypeAlias = tuple[str | int, ...]
"""Keys and positions from the root to a value."""


@dataclass(frozen=True, order=True)
class Mark:
    """A place in the file; both numbers start at 1."""

    line: int
    column: int


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that the operator has to mend."""

    mark: Mark
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class Document:
    """Plain values (dict, list, str, int, float, bool, datetime, None) and the place of each."""

    root: Any
    values: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)
    filled: frozenset[Path] = frozenset()
    """What a preset filled in: it stands nowhere in the text."""

    def mark_of(self, path: Path) -> Mark:
        """Return where a value stands, or the nearest part around it that exists."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Mark(1, 1))

    def mark_of_key(self, path: Path) -> Mark:
        """Return where a key stands; `path` may have a 0 where one value stands for a list of one."""
        shorter = tuple(step for step in path if step != 0)
        return self.keys.get(path) or self.keys.get(shorter) or self.mark_of(path)


class DocumentError(Exception):
    """The text is no acceptable YAML; carries the problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def read_document(text: str) -> Document:
    """Return the values of a YAML text; an empty text is an empty mapping.

    Raises DocumentError at the first thing that is refused.
    """
    node = compose_document(text)
    document = Document(root={})
    if node is None:
        return document
    return Document(root=_plain(node, (), document), values=document.values, keys=document.keys)


def compose_document(text: str) -> yaml.Node | None:
    """Return the nodes of a YAML text with their places, None for an empty one. Raises DocumentError."""
    if len(text) > DOCUMENT_CHARS_MAX:
        raise DocumentError(
            Problem(mark=Mark(1, 1), message=f"the file is larger than {DOCUMENT_CHARS_MAX} characters")
        )
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = _mark(error.problem_mark or error.context_mark)
        raise DocumentError(Problem(mark=mark, message=_yaml_message(error), hint=_yaml_hint(error))) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        problem = Problem(mark=Mark(line, column), message="the file has a character that YAML does not allow")
        raise DocumentError(problem) from error
    return node


class _StrictLoader(yaml.SafeLoader):
    """Composes nodes; refuses aliases and deep nesting before they cost anything."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute, replaced below
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one node. Raises ComposerError for an alias, an anchor or too many levels."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not used here", event.start_mark)
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise yaml.composer.ComposerError(None, None, f"more than {DEPTH_MAX} levels", event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_TRUE_FALSE = re.compile(r"^(?:true|false)$")
_NULL = re.compile(r"^(?:~|null|)$")
_INTEGER = re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$")
_DECIMAL = re.compile(r"^[-+]?(?:0|[1-9][0-9]*)\.[0-9]+$")
_MOMENT = re.compile(r"^\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[-+]\d\d:\d\d)?)?$")
for _tag, _pattern, _first in (
    ("bool", _TRUE_FALSE, "tf"),
    ("null", _NULL, ["~", "n", ""]),
    ("int", _INTEGER, "-+0123456789"),
    ("float", _DECIMAL, "-+0123456789"),
    ("timestamp", _MOMENT, "0123456789"),
):
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))


def _plain(node: yaml.Node, path: Path, document: Document) -> Any:
    document.values[path] = _mark(node.start_mark)
    if isinstance(node, yaml.MappingNode):
        return dict(_pairs(node, path, document))
    if isinstance(node, yaml.SequenceNode):
        _require_tag(node, "seq")
        return [_plain(item, (*path, index), document) for index, item in enumerate(node.value)]
    return _scalar(node)


def _pairs(node: yaml.MappingNode, path: Path, document: Document) -> Iterator[tuple[str, Any]]:
    _require_tag(node, "map")
    for key_node, value_node in node.value:
        mark = _mark(key_node.start_mark)
        if not isinstance(key_node, yaml.ScalarNode):
            raise DocumentError(Problem(mark=mark, message="a key must be a plain word"))
        key = _text(key_node)
        place = (*path, key)
        if place in document.keys:
            first = document.keys[place]
            message = f"{key!r} stands here a second time, the first is in line {first.line}"
            raise DocumentError(Problem(mark=mark, message=message, hint="keep one of them"))
        document.keys[place] = mark
        yield key, _plain(value_node, place, document)


def _scalar(node: yaml.Node) -> Any:
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    text = _text(node)
    try:
        match kind:
            case "str":
                return text
            case "bool":
                return text == "true"
            case "null":
                return None
            case "int":
                return int(text)
            case "float":
                return float(text)
            case "timestamp":
                return _moment(text)
    except (ValueError, OverflowError) as error:
        shown = text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}..."
        problem = Problem(mark=_mark(node.start_mark), message=f"{shown!r} cannot be read: {error}")
        raise DocumentError(problem) from error
    raise DocumentError(Problem(mark=_mark(node.start_mark), message=f"the tag {node.tag!r} is not used here"))


def _text(node: yaml.Node) -> str:
    """Return the text of a scalar. Escapes may make what is no text: half a character, or one that steers a terminal."""
    text: str = node.value
    if _NO_TEXT.search(text):
        message = "the text has a character in it that is no text"
        raise DocumentError(Problem(mark=_mark(node.start_mark), message=message, hint="take the escape out"))
    return text


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _require_tag(node: yaml.Node, kind: str) -> None:
    if node.tag != f"tag:yaml.org,2002:{kind}":
        raise DocumentError(Problem(mark=_mark(node.start_mark), message=f"the tag {node.tag!r} is not used here"))


def _mark(mark: yaml.Mark | None) -> Mark:
    return Mark(1, 1) if mark is None else Mark(mark.line + 1, mark.column + 1)


def _yaml_message(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    return "this is not readable as YAML: " + ", ".join(parts) if parts else "this is not readable as YAML"


def _yaml_hint(error: yaml.MarkedYAMLError) -> str | None:
    if error.problem and "\\t" in error.problem:
        return "indent with spaces, not with tabs"
    if error.problem and "mapping values are not allowed" in error.problem:
        return "a colon inside a text needs quotes around the text"
    return None
