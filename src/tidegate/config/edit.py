"""Edits of the file's text that leave everything else as a person wrote it: comments, order, layout. Pure.

An edit is one splice. It is checked before it is given away: the new text must say exactly what was meant, and nothing
else of it may differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from tidegate.config.document import DocumentError, Path, compose_document, read_document
from tidegate.config.records import Mode
from tidegate.config.stock_modes import FlowName
from tidegate.kernel.errors import ConfigurationError

Scalar = str | int | bool


class Splice(msgspec.Struct, frozen=True):
    """Replace `text[start:end]`."""

    start: int
    end: int
    replacement: str

    def apply(self, text: str) -> str:
        """Return the new text."""
        return text[: self.start] + self.replacement + text[self.end :]


def move_flow(text: str, flow: FlowName, mode: Mode) -> Splice:
    """Return the edit that gives a flow another mode. Raises ConfigurationError when the text cannot be edited."""
    return set_value(text, ("flows", flow, "mode"), mode)


def move_skus(text: str, match: str, mode: Mode) -> Splice:
    """Return the edit that gives the SKUs of `match` (`sku:PATTERN` or `group:NAME`) another mode.

    The last override that fits a SKU counts, so this one is the last: it is changed in place when it is so already, else it
    is added. Raises as `move_flow`.
    """
    overrides = _read(text).get("overrides")
    entries = overrides if isinstance(overrides, list) else []
    for index in reversed(range(len(entries))):
        entry = entries[index]
        if not isinstance(entry, dict) or "stock.mode" not in entry:
            continue
        if entry.get("match") == match and not {"during", "profile"} & entry.keys():
            return set_value(text, ("overrides", index, "stock.mode"), mode)
        break
    return append_item(text, ("overrides",), {"match": match, "stock.mode": mode})


def set_value(text: str, path: Path, value: Scalar) -> Splice:
    """Return the edit after which `path` has `value`; mappings that are not there are made."""
    wanted = _with_value(_read(text), path, value)
    root = compose_document(text)
    if root is None:
        return _checked(text, [_at_end(text, path, _scalar(value))], wanted)
    node, depth = _deepest(root, path)
    if depth == len(path):
        if not isinstance(node, yaml.ScalarNode):
            raise _cannot(path)
        return _checked(text, _replacements(text, node, _scalar(value)), wanted)
    rest = path[depth:]
    return _checked(text, _insertions(text, root, node, rest, _scalar(value)), wanted)


def append_item(text: str, path: Path, item: Mapping[str, Scalar]) -> Splice:
    """Return the edit after which the list at `path` has one more entry, its last."""
    entry = "{" + ", ".join(f"{key}: {_scalar(value)}" for key, value in item.items()) + "}"
    wanted = _with_item(_read(text), path, dict(item))
    root = compose_document(text)
    if root is None:
        return _checked(text, [_at_end(text, path, f"[{entry}]"), _at_end(text, path, f"\n  - {entry}")], wanted)
    node, depth = _deepest(root, path)
    if depth < len(path):
        places = [
            *(_insertions(text, root, node, path[depth:], f"\n  - {entry}") if node is root else []),
            *_insertions(text, root, node, path[depth:], f"[{entry}]"),
        ]
        return _checked(text, places, wanted)
    if isinstance(node, yaml.SequenceNode) and node.value:
        return _checked(text, _after_last(text, node, entry), wanted)
    if isinstance(node, yaml.SequenceNode):
        return _checked(text, [Splice(node.end_mark.index - 1, node.end_mark.index - 1, entry)], wanted)
    return _checked(text, _replacements(text, node, f"[{entry}]"), wanted)


# --- places ----------------------------------------------------------------------------------------------------------------
def _deepest(root: yaml.Node, path: Path) -> tuple[yaml.Node, int]:
    """Return the node that stands for the longest beginning of `path`, and how long that is."""
    node = root
    for depth, step in enumerate(path):
        inner = _child(node, step)
        if inner is None:
            return node, depth
        node = inner
    return node, len(path)


def _child(node: yaml.Node, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode) and isinstance(step, str):
        found: yaml.Node | None = next((value for key, value in node.value if key.value == step), None)
        return found
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item: yaml.Node = node.value[step]
        return item
    return None


def _replacements(text: str, node: yaml.Node, words: str) -> list[Splice]:
    """Replace a value. One that is empty (`overrides:` and nothing behind) has no place of its own: it follows its colon."""
    start, end = node.start_mark.index, node.end_mark.index
    if start == end:
        colon = text.rfind(":", 0, start + 1)
        return [Splice(colon + 1, colon + 1, f" {words}")]
    return [Splice(start, end, words)]


def _insertions(text: str, root: yaml.Node, node: yaml.Node, rest: Path, words: str) -> list[Splice]:
    """Put `rest: words` into a mapping, in the first place that is right."""
    head, nested = str(rest[0]), words
    for step in reversed(rest[1:]):
        nested = "{" + f"{step}: {nested}" + "}"
    pair = f"{head}:{'' if nested.startswith(chr(10)) else ' '}{nested}"
    if not isinstance(node, yaml.MappingNode):
        return _replacements(text, node, "{" + pair + "}")
    if not node.value:
        return [Splice(node.end_mark.index - 1, node.end_mark.index - 1, pair)]
    if node.flow_style:
        last = node.value[-1][1]
        before = last.end_mark.index if last.end_mark.index > last.start_mark.index else node.end_mark.index - 1
        return [
            Splice(before, before, f", {pair}"),
            Splice(node.end_mark.index - 1, node.end_mark.index - 1, f", {pair}"),
        ]
    first = node.value[0][0].start_mark
    indent, newline = " " * first.column, _newline(text)
    block = pair.replace("\n", newline + indent)
    before_first = Splice(first.index, first.index, f"{block}{newline}{indent}")
    return [_at_end(text, rest, words), before_first] if node is root else [_behind(text, node, pair), before_first]


def _behind(text: str, node: yaml.MappingNode, pair: str) -> Splice:
    """Put a pair on a line of its own behind the last value of a block mapping."""
    place = _end_of_line(text, _last_index(node))
    column, newline = node.value[0][0].start_mark.column, _newline(text)
    return Splice(place, place, newline + " " * column + pair)


def _after_last(text: str, node: yaml.SequenceNode, entry: str) -> list[Splice]:
    """Put an entry behind the last one of a list."""
    if node.flow_style:
        last = node.value[-1].end_mark.index
        return [Splice(last, last, f", {entry}")]
    place = _end_of_line(text, _last_index(node))
    return [Splice(place, place, _newline(text) + " " * node.start_mark.column + f"- {entry}")]


def _last_index(node: yaml.Node) -> int:
    """Return where the text of a node ends. A block's own end is only known by what comes behind it."""
    if isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) and not node.flow_style and node.value:
        last = node.value[-1]
        return max(_last_index(part) for part in last) if isinstance(last, tuple) else _last_index(last)
    return int(node.end_mark.index)


def _end_of_line(text: str, place: int) -> int:
    if place and text[place - 1] == "\n":  # a text block ends with its line
        return place - (2 if text[place - 2 : place] == "\r\n" else 1)
    found = text.find("\n", place)
    end = len(text) if found < 0 else found
    return end - 1 if end > place and text[end - 1] == "\r" else end


def _at_end(text: str, path: Path, words: str) -> Splice:
    """Put a pair behind everything else."""
    newline, nested = _newline(text), words
    for step in reversed(path[1:]):
        nested = "{" + f"{step}: {nested}" + "}"
    lead = "" if not text or text.endswith("\n") else newline
    pair = f"{path[0]}:{'' if nested.startswith(chr(10)) else ' '}{nested}"
    return Splice(len(text), len(text), lead + pair.replace("\n", newline) + newline)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


# --- values ----------------------------------------------------------------------------------------------------------------
def _scalar(value: Scalar) -> str:
    """Return a value as YAML: plain where a plain word is safe."""
    if isinstance(value, str) and value in ("observe", "propose", "live"):
        return value
    return json.dumps(value, ensure_ascii=False)


def _read(text: str) -> dict[str, Any]:
    try:
        root = read_document(text).root
    except DocumentError as error:
        raise ConfigurationError(error.problem.message, code="config_invalid") from error
    if not isinstance(root, dict):
        raise ConfigurationError("the file must be a list of `key: value` lines", code="config_invalid")
    return root


def _with_value(root: Any, path: Path, value: Scalar) -> Any:
    if not path:
        return value
    step, *rest = path
    if isinstance(root, list) and isinstance(step, int):
        return [_with_value(each, tuple(rest), value) if index == step else each for index, each in enumerate(root)]
    if root is not None and not isinstance(root, dict):
        raise _cannot(path)
    known = root or {}
    return {**known, step: _with_value(known.get(step), tuple(rest), value)}


def _with_item(root: Any, path: Path, item: dict[str, Scalar]) -> Any:
    if not path:
        if root is not None and not isinstance(root, list):
            raise _cannot(path)
        return [*(root or []), item]
    step, *rest = path
    if root is not None and not isinstance(root, dict):
        raise _cannot(path)
    known = root or {}
    return {**known, step: _with_item(known.get(step), tuple(rest), item)}


def _checked(text: str, places: list[Splice], wanted: Any) -> Splice:
    """Return the first splice whose text says what was meant."""
    for splice in places:
        try:
            if read_document(splice.apply(text)).root == wanted:
                return splice
        except DocumentError:
            continue
    raise ConfigurationError(
        "the file cannot be edited in place", code="config_not_editable", hint="edit it, then: tidegate config apply"
    )


def _cannot(path: Path) -> ConfigurationError:
    place = ".".join(str(step) for step in path)
    return ConfigurationError(
        f"{place or 'the list'} has another shape than expected",
        code="config_not_editable",
        hint="look with: tidegate config check",
    )
