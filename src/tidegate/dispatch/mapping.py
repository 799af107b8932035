"""Maps where payloads are made: what a map and its hooks make of a drafted payload, and whether that is still true. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from tidegate.commerce.commands import CommandKind, CreateFulfillment, CreateOrder
from tidegate.commerce.states import CommandState
from tidegate.dispatch.payloads import Drafted, Shape, Stale
from tidegate.dispatch.records import PendingCommand, Unbuildable
from tidegate.mapping.apply import Refused, Shaped, apply_map
from tidegate.mapping.compile import CompiledMaps, FlowMap
from tidegate.mapping.hook_host import HookHost
from tidegate.mapping.paths import Flow

FLOW_OF: dict[CommandKind, Flow] = {
    CommandKind.ORDER_CREATE: "orders",
    CommandKind.FULFILLMENT_CREATE: "shipments",
}
"""Kinds of commands whose payload a map may shape."""


@dataclass(frozen=True, kw_only=True)
class MapsAtWork:
    """The maps of one configuration version."""

    is_usable: bool = True
    """False: they are not valid for this version of Tidegate, and nothing may leave that they should have shaped."""
    config_version: int | None = None
    maps: CompiledMaps | None = None
    hooks: HookHost | None = field(default=None, compare=False)

    def flow_map(self, kind: CommandKind) -> FlowMap | None:
        """Return the map of a kind of command, None where payloads are sent as they are drafted."""
        flow = FLOW_OF.get(kind)
        if flow is None or self.maps is None:
            return None
        return self.maps.of(flow) or None

    def digest_for(self, kind: CommandKind) -> bytes | None:
        """Return the version of the mapping, None for a kind without a map."""
        return self.maps.digest if self.maps is not None and self.flow_map(kind) is not None else None


NO_MAPS = MapsAtWork()
_QUOTED_CHARS = (20, 30, 80)
"""How much of a value the messages of tables and transforms quote at most."""
_TELLING_CHARS = 2


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What hooks said, and about what: it counts only while both are the same."""

    draft: Drafted
    digest: bytes
    answer: CreateOrder | CreateFulfillment | Refused


def needs_hooks(maps: MapsAtWork, command: PendingCommand) -> bool:
    """Whether hooks must be asked before T2s: there are some, and there is no frozen call yet."""
    flow_map = maps.flow_map(command.kind)
    return flow_map is not None and bool(flow_map.hooks) and command.call_id is None


def shape_of(maps: MapsAtWork, command: PendingCommand, asked: Asked | None) -> Shape | None:
    """Return what a command's map makes of a drafted payload, None without a map."""
    flow_map = maps.flow_map(command.kind)
    if flow_map is None:
        return None

    def shape(draft: Drafted) -> Shaped | Unbuildable | Stale:
        payload: Shaped | Refused = draft.payload
        if flow_map.hooks:
            if asked is None or asked.draft != draft or asked.digest != maps.digest_for(command.kind):
                return Stale()
            payload = asked.answer
        if not isinstance(payload, Refused):
            payload = apply_map(flow_map, payload, draft.facts, is_approved=command.is_approved)
        return to_unbuildable(conceal(payload, draft.payload)) if isinstance(payload, Refused) else payload

    return shape


def conceal(refused: Refused, payload: CreateOrder | CreateFulfillment) -> Refused:
    """Return it without what the payload says of a person: reasons stand in plain text where a command is looked at.

    Tables, transforms and hooks quote what they could not take, whole or its beginning.
    """
    if not isinstance(payload, CreateOrder):
        return refused
    values = {text.strip() for text in (payload.note, *_texts(msgspec.to_builtins(payload.private)))}
    begun = {text[:length] for text in values for length in _QUOTED_CHARS if len(text) > length}
    reason = refused.reason
    for text in sorted((each for each in values | begun if len(each) >= _TELLING_CHARS), key=len, reverse=True):
        reason = re.sub(rf"(?<!\w){re.escape(text)}(?!\w)", "...", reason, flags=re.IGNORECASE)
    return msgspec.structs.replace(refused, reason=reason)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name != "country_code":
                yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def to_unbuildable(refused: Refused) -> Unbuildable:
    """Return how a command ends whose payload a map or a hook refuses."""
    states = {"fail": CommandState.FAILED, "hold": CommandState.PROPOSED, "skip": CommandState.CANCELLED}
    return Unbuildable(state=states[refused.kind], code=refused.code, reason=refused.reason)
