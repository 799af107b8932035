"""How a lane goes by configuration: what is kept for urgent work, how long the rest waits for company. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

DEFAULT = "default"
"""The entry of `lanes` that stands for every connection without a value of its own."""
Window = Annotated[str, Meta(pattern=r"^([0-9]{1,6}ms|[0-9]{1,5}[smh])$")]
"""A short time, which may be none: 0s, 250ms, 2s, 5m."""
Topic = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.]{0,39}$")]
_WINDOW = re.compile(r"([0-9]+)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
URGENT_TOPICS = frozenset({"order", "payment", "refund", "shipment", "fulfillment"})
"""What is read at once, whoever else may ask for it a moment later."""


class LaneConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What differs for one connection, or for all of them; what is absent stays as it is."""

    floor: Annotated[float, Meta(ge=0, le=0.9)] | None = None
    """Part of the budget that is kept for payments, orders and shipments."""
    share: Annotated[float, Meta(gt=0, le=1)] | None = None
    """How much of the platform's budget is ours, where other apps of the account need the rest."""
    stock_merge: Window | None = None
    """How long a stock number waits for others, so that one call tells many. What is critical never waits."""
    bundle: Window | None = None
    """How long a hint that something changed waits for more hints of the same thing, so that one read serves all."""
    bundle_max: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    """Hints after which a read waits no longer."""
    bundle_topics: Mapping[Topic, Window] | None = None
    """In place of `bundle` for hints of single topics. Orders, payments and shipments never wait."""


class LaneRules(msgspec.Struct, frozen=True, kw_only=True):
    """What counts for one lane."""

    floor: float = 0.2
    share: float = 1.0
    stock_merge_seconds: float = 0.25
    bundle_seconds: float = 1.0
    bundle_max: int = 100
    bundle_topic_seconds: Mapping[str, float] = {}

    def wait_for_hints(self, topic: str) -> float:
        """Return how long a hint about `topic` waits for more of them."""
        return 0.0 if topic in URGENT_TOPICS else self.bundle_topic_seconds.get(topic, self.bundle_seconds)


DEFAULT_RULES = LaneRules()


def lane_rules(lanes: Mapping[str, LaneConfig], name: str) -> LaneRules:
    """Return the rules of the lane of connection `name`: its own values, then those of `default`, then the built-in ones."""
    own, general = lanes.get(name, _NOTHING), lanes.get(DEFAULT, _NOTHING)
    chosen = {
        field: getattr(own, field) if getattr(own, field) is not None else getattr(general, field) for field in _FIELDS
    }
    values = {
        "floor": chosen["floor"],
        "share": chosen["share"],
        "stock_merge_seconds": _seconds(chosen["stock_merge"]),
        "bundle_seconds": _seconds(chosen["bundle"]),
        "bundle_max": chosen["bundle_max"],
        "bundle_topic_seconds": _topics(general.bundle_topics) | _topics(own.bundle_topics),
    }
    return LaneRules(**{key: value for key, value in values.items() if value is not None})


def lay_over(lanes: Mapping[str, LaneConfig], values: Mapping[str, object]) -> Mapping[str, LaneConfig]:
    """Return the lanes with `values` in place of what each entry says, `default` included. Pure."""
    if not values:
        return lanes
    entries = {DEFAULT: _NOTHING, **lanes}
    return {name: msgspec.structs.replace(entry, **values) for name, entry in entries.items()}


def lay_over_some(lanes: Mapping[str, LaneConfig], values: Mapping[str, LaneConfig]) -> Mapping[str, LaneConfig]:
    """Return the lanes with what `values` says of single ones in place of what they say. Pure."""
    return {**lanes, **{name: _laid_over(lanes.get(name, _NOTHING), over) for name, over in values.items()}}


def _laid_over(below: LaneConfig, over: LaneConfig) -> LaneConfig:
    said = {field: value for field in _FIELDS if (value := getattr(over, field)) is not None}
    return msgspec.structs.replace(below, **said)


_NOTHING = LaneConfig()
_FIELDS = tuple(field.name for field in msgspec.structs.fields(LaneConfig))


def _topics(windows: Mapping[str, str] | None) -> dict[str, float]:
    return {topic: seconds for topic, text in (windows or {}).items() if (seconds := _seconds(text)) is not None}


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = _WINDOW.fullmatch(text)
    return float(match[1]) * _UNITS[match[2]] if match is not None else None
