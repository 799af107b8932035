"""What the author of a hook uses: `@transform`, `@decide`, and the values that hooks get and return.

A hook is a plain function in a module of the project folder, named in `maps:`. It runs in a process of its own, with a
deadline and a bound of memory, without network, files, other processes or credentials. It must be pure: the same order
gives the same result live, in `tidegate map test` and in tests.

    @transform("orders.lines")
    def explode_gift_boxes(line, cfg):
        parts = cfg.boxes.get(line.sku)
        return line if parts is None else [line.replace(sku=p["sku"], quantity=int(p["qty"]) * line.quantity) for p in parts]

    @decide("orders")
    def to_erp(order, cfg):
        if order.total > Decimal(cfg.review_above):
            return Hold("manual review")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
TRANSFORM_PLACES = ("orders", "orders.lines")
DECIDE_PLACES = ("orders", "shipments")
MARK = "__tidegate_hook__"
"""Attribute of a function that says where it may be used: (`transform` or `decide`, place)."""


def transform(place: Literal["orders", "orders.lines"]) -> Callable[[F], F]:
    """Mark a function `(order, cfg) -> order` (`orders`), or `(line, cfg) -> line or list of lines` (`orders.lines`).

    A line may be changed and split. Parts of a line that all still have the line's own total get theirs by quantity,
    exact to the last cent; otherwise they must add up to it.
    """
    if place not in TRANSFORM_PLACES:
        raise ValueError(f"transform takes {' or '.join(TRANSFORM_PLACES)}, not {place!r}")
    return _marker("transform", place)


def decide(place: Literal["orders", "shipments"]) -> Callable[[F], F]:
    """Mark a function `(order or shipment, cfg) -> Hold, Skip, Send or None`; None lets it pass."""
    if place not in DECIDE_PLACES:
        raise ValueError(f"decide takes {' or '.join(DECIDE_PLACES)}, not {place!r}")
    return _marker("decide", place)


def _marker(kind: str, place: str) -> Callable[[F], F]:
    def mark(function: F) -> F:
        setattr(function, MARK, (kind, place))
        return function

    return mark


class Verdict:
    """What `decide` says."""

    kind = "send"

    def __init__(self, reason: str = "") -> None:
        """`reason` is shown to people and kept with the command."""
        self.reason = str(reason)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verdict) and (self.kind, self.reason) == (other.kind, other.reason)

    def __hash__(self) -> int:
        return hash((self.kind, self.reason))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason!r})"


class Send(Verdict):
    """Let it pass, as None does."""


class Hold(Verdict):
    """Wait for a person: `tidegate approve` or `tidegate reject`."""

    kind = "hold"


class Skip(Verdict):
    """Do not send it at all: the command ends cancelled, with the reason."""

    kind = "skip"


class Record(Mapping[str, Any]):
    """An order, a line, a customer, an address: values by attribute, unchangeable. `replace` makes a changed one."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Take values as they are."""
        object.__setattr__(self, "_values", dict(values))

    def replace(self, **changes: Any) -> Record:
        """Return a record with other values. Raises AttributeError for a name that it does not have."""
        for name in changes:
            if name not in self._values:
                raise AttributeError(self._unknown(name))
        return Record({**self._values, **changes})

    def _unknown(self, name: str) -> str:
        near = get_close_matches(name, list(self._values), n=1)
        return f"there is no {name!r}" + (
            f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(self._values)}"
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        values = object.__getattribute__(self, "_values")
        if name not in values:
            raise AttributeError(self._unknown(name))
        return values[name]

    def __setattr__(self, name: str, _value: object) -> None:
        raise AttributeError(f"values cannot be changed in place: use replace({name}=...)")

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Record({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"


class Cfg(Record):
    """What hooks are configured with: `hooks.options` of tidegate.yaml, and every value table, by name."""

    __slots__ = ()
