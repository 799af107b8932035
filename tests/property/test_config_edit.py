"""Edits of the file: the text says exactly what was meant, and nothing else of it differs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config.document import read_document
from tidegate.config.edit import move_flow, move_skus
from tidegate.kernel.errors import ConfigurationError

FLOWS = st.sampled_from(["orders", "shipments", "stock"])
MODES = st.sampled_from(["observe", "propose", "live"])
WORDS = st.sampled_from(
    ["erp", "shop", "2026-11-01", "live", "observe", "a b", "x: y", "# no comment", "{", "é", "it's"]
)
NAMES = st.sampled_from(["a", "from", "to", "mode", "note", "x-y"])
COMMENTS = st.sampled_from(["", "  # why", " #", "\n# a line of its own", "\n", "  # [{mode: live}]"])
MATCHES = st.sampled_from(["sku:A-1", "sku:LAUNCH-*", "group:toys", 'sku:"q"', "sku:# 1", "sku:é"])


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> Any:
    """A value of some key: plain, a list, or a mapping."""
    kind = draw(st.integers(0, 3 if depth else 1))
    if kind == 2:
        return draw(st.lists(values(depth=depth - 1), max_size=3))
    if kind == 3:
        return draw(st.dictionaries(NAMES, values(depth=depth - 1), max_size=3))
    return draw(st.one_of(WORDS, st.integers(-5, 5), st.booleans(), st.none()))


@st.composite
def roots(draw: st.DrawFn) -> dict[str, Any]:
    """A file with flows and overrides in any state of completeness."""
    root: dict[str, Any] = {"tenant": "main", "other": draw(values())}
    if draw(st.booleans()):
        entry = st.dictionaries(NAMES.filter(lambda name: name != "mode"), values(depth=1), max_size=2)
        flows = draw(st.dictionaries(FLOWS, entry, max_size=3))
        for flow in flows.values():
            if draw(st.booleans()):
                flow["mode"] = draw(MODES)
        root["flows"] = flows or draw(st.sampled_from([flows, None]))
    if draw(st.booleans()):
        override = st.fixed_dictionaries({"match": MATCHES}, optional={"stock.mode": MODES, "stock.safety": st.just(3)})
        root["overrides"] = draw(st.one_of(st.lists(override, max_size=3), st.none()))
    return {key: root[key] for key in draw(st.permutations(list(root)))}


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A file as a person might have written it: block or flow style anywhere, comments, blank lines, either line end."""
    root = draw(roots())
    if draw(st.integers(0, 9)) == 0:
        return draw(
            st.sampled_from(["", "{}", "{}\n", "# nothing yet\n", json.dumps(root), json.dumps(root, indent=1)])
        )
    text = "".join(_pair(draw, key, value, 0) for key, value in root.items())
    if draw(st.booleans()):
        text = text.rstrip("\n")
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


def _pair(draw: st.DrawFn, key: str, value: Any, indent: int) -> str:
    pad, comment = " " * indent, draw(COMMENTS)
    if value is None and draw(st.booleans()):
        return f"{pad}{key}:{comment}\n"
    if isinstance(value, dict) and value and draw(st.booleans()):
        inner = "".join(_pair(draw, name, part, indent + 2) for name, part in value.items())
        return f"{pad}{key}:{comment}\n{inner}"
    if isinstance(value, list) and value and draw(st.booleans()):
        shift = indent + draw(st.sampled_from([0, 2]))
        items = "".join(f"{' ' * shift}- {json.dumps(item, ensure_ascii=False)}{draw(COMMENTS)}\n" for item in value)
        return f"{pad}{key}:{comment}\n{items}"
    return f"{pad}{key}: {json.dumps(value, ensure_ascii=False)}{comment}\n"


def _plain(text: str) -> Any:
    return read_document(text).root


@given(texts(), FLOWS, MODES)
def test_a_flow_moves_and_nothing_else_does(text: str, flow: Any, mode: Any) -> None:
    before = _plain(text)

    splice = move_flow(text, flow, mode)

    flows = before.get("flows") or {}
    wanted = {**before, "flows": {**flows, flow: {**(flows.get(flow) or {}), "mode": mode}}}
    assert _plain(splice.apply(text)) == wanted
    _assert_only_there(text, splice)
    again = splice.apply(text)
    assert move_flow(again, flow, mode).apply(again) == again, "repeated, it changes nothing"


@given(texts(), MATCHES, MODES)
def test_skus_move_and_nothing_else_does(text: str, match: str, mode: Any) -> None:
    before = _plain(text)

    splice = move_skus(text, match, mode)

    after = _plain(splice.apply(text))
    assert {**after, "overrides": None} == {**before, "overrides": None}
    ruled = [each for each in after["overrides"] if "stock.mode" in each]
    assert (ruled[-1]["match"], ruled[-1]["stock.mode"]) == (match, mode), "the last one counts"
    known = before.get("overrides") or []
    assert len(after["overrides"]) in (len(known), len(known) + 1)
    _assert_only_there(text, splice)
    again = splice.apply(text)
    assert move_skus(again, match, mode).apply(again) == again


def _assert_only_there(text: str, splice: Any) -> None:
    after = splice.apply(text)
    tail = len(text) - splice.end
    assert after[: splice.start] == text[: splice.start]
    assert after[len(after) - tail :] == text[splice.end :]
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            assert line in after, "no comment is lost"


@pytest.mark.parametrize("text", ["flows: [a]", "flows: {stock: 3}", "overrides: 3", "- a", "a: [", "a: &x 1"])
def test_what_has_another_shape_is_refused_with_words(text: str) -> None:
    with pytest.raises(ConfigurationError):
        move_skus(move_flow(text, "stock", "live").apply(text), "sku:A", "live")


def test_the_layout_of_a_person_survives() -> None:
    text = (
        "flows:            # what moves where\n"
        "  stock:          # numbers\n"
        "    from: erp     # counts\n"
        "    to: [shop]\n"
        "\n"
        "  # the rest follows later\n"
        "overrides:\n"
        '  - {match: "group:toys", stock.safety: 2}   # Christmas\n'
    )

    text = move_flow(text, "stock", "live").apply(text)
    text = move_skus(text, "sku:TEST-1", "observe").apply(text)

    assert text == (
        "flows:            # what moves where\n"
        "  stock:          # numbers\n"
        "    from: erp     # counts\n"
        "    to: [shop]\n"
        "    mode: live\n"
        "\n"
        "  # the rest follows later\n"
        "overrides:\n"
        '  - {match: "group:toys", stock.safety: 2}   # Christmas\n'
        '  - {match: "sku:TEST-1", stock.mode: observe}\n'
    )
