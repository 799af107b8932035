"""What one part of the configuration must know of another. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from tidegate.commerce.events import EVENT_TYPES, matches
from tidegate.config.document import Document, Path, Problem
from tidegate.config.lanes import DEFAULT, URGENT_TOPICS, LaneConfig
from tidegate.config.records import Config
from tidegate.config.shape import suggest
from tidegate.sdk.connector import Connector

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_RESERVED_NAMES = frozenset({"origin", "tidegate", DEFAULT})

Connectors = Mapping[str, Connector] | None


def check_connections(config: Config, document: Document, connectors: Connectors) -> Iterator[Problem]:
    """Names, connectors, settings and addresses of the connections."""
    for name, connection in config.connections.items():
        path: Path = ("connections", name)
        if not _NAME.fullmatch(name) or name in _RESERVED_NAMES:
            yield Problem(
                mark=document.keys[path],
                message=f"{name!r} cannot be the name of a connection",
                hint="use small letters, digits and _, beginning with a letter; not 'origin', 'tidegate' or 'default'",
            )
        url = connection.options.get("url")
        if url is not None and not _is_web_address(url):
            yield Problem(
                mark=document.mark_of((*path, "url")),
                message=f"the url of {name!r} is no web address",
                hint="write for example http://127.0.0.1:3000",
            )
        if connectors is not None:
            yield from _check_connector(name, config, document, connectors)


def _check_connector(
    name: str, config: Config, document: Document, connectors: Mapping[str, Connector]
) -> Iterator[Problem]:
    connection = config.connections[name]
    connector = connectors.get(connection.use)
    if connector is None:
        yield Problem(
            mark=document.mark_of(("connections", name, "use")),
            message=f"there is no connector {connection.use!r}",
            hint=suggest(connection.use, list(connectors)),
        )
        return
    known = ["url", *(field.name for field in connector.fields if not field.secret)]
    for option in connection.options:
        if option not in known:
            yield Problem(
                mark=document.keys[("connections", name, option)],
                message=f"connector {connector.name!r} has no setting {option!r}",
                hint=suggest(option, known),
            )


def check_lanes(config: Config, document: Document) -> Iterator[Problem]:
    """Lanes are those of connections of this file, or `default`; also in profiles."""
    places: list[Path] = [("lanes", name) for name in config.lanes]
    places += [("profiles", profile, "lanes", name) for profile, each in config.profiles.items() for name in each.lanes]
    for place in places:
        name = str(place[-1])
        if name != DEFAULT and name not in config.connections:
            yield Problem(
                mark=document.mark_of_key(place),
                message=f"{'.'.join(map(str, place[:-1]))} names {name!r}, which is no connection of this file",
                hint=suggest(name, [*config.connections, DEFAULT]),
            )


def check_topics(config: Config, document: Document) -> Iterator[Problem]:
    """What is read at once by rule has no window of its own to wait for."""
    places: list[tuple[Path, Mapping[str, LaneConfig]]] = [(("lanes",), config.lanes)]
    places += [(("profiles", name, "lanes"), profile.lanes) for name, profile in config.profiles.items()]
    for path, lanes in places:
        for name, lane in lanes.items():
            for topic in (lane.bundle_topics or {}).keys() & URGENT_TOPICS:
                yield Problem(
                    mark=document.mark_of_key((*path, name, "bundle_topics", topic)),
                    message=f"{topic} is critical: it is read at once, and no window holds it",
                    hint="leave it away; critical are " + ", ".join(sorted(URGENT_TOPICS)),
                )


def check_flows(config: Config, document: Document, connectors: Connectors) -> Iterator[Problem]:
    """Flows and owners name connections that exist, each in a role that its connector plays, and agree."""
    for path, name, role in _mentions(config):
        if name not in config.connections:
            yield Problem(
                mark=document.mark_of(path),
                message=f"{'.'.join(str(step) for step in path)} names {name!r}, which is no connection of this file",
                hint=suggest(name, list(config.connections)) or "add it under `connections`",
            )
            continue
        connector = (connectors or {}).get(config.connections[name].use)
        if connector is not None and role not in connector.roles:
            yield Problem(
                mark=document.mark_of(path),
                message=f"{name!r} uses connector {connector.name!r}, which is no {_ROLE_WORDS[role]}",
            )
    owner = config.owns.price
    if owner is not None and owner not in config.connections:
        yield Problem(
            mark=document.mark_of(("owns", "price")),
            message=f"owns.price names {owner!r}, which is no connection of this file",
            hint=suggest(owner, list(config.connections)) or "add it under `connections`",
        )
    if config.needs_since and ("flows", "orders", "to") in document.values:
        yield Problem(
            mark=document.mark_of(("flows", "orders")),
            message="flows.orders needs 'since'",
            hint="write a date, for example 2026-11-01: older orders are left alone",
        )
    yield from _check_agreement(config, document)


_ROLE_WORDS = {
    "channel": "sales channel",
    "erp": "ERP",
    "payment": "payment provider",
    "listener": "listener of events",
}


def _mentions(config: Config) -> Iterator[tuple[Path, str, str]]:
    """Yield (place, connection, role it needs there)."""
    orders, shipments, stock = config.flows.orders, config.flows.shipments, config.flows.stock
    if orders is not None:
        for index, name in enumerate(orders.sources):
            yield ("flows", "orders", "from", index), name, "channel"
        yield ("flows", "orders", "to"), orders.target, "erp"
    if shipments is not None:
        yield ("flows", "shipments", "from"), shipments.source, "erp"
        if shipments.capture is not None:
            yield ("flows", "shipments", "capture"), shipments.capture, "payment"
    if config.flows.payments is not None:
        yield ("flows", "payments", "from"), config.flows.payments.source, "payment"
    if config.owns.payment is not None:
        yield ("owns", "payment"), config.owns.payment, "payment"
    if stock is not None:
        yield ("flows", "stock", "from"), stock.source, "erp"
        for index, name in enumerate(stock.targets):
            yield ("flows", "stock", "to", index), name, "channel"
    if config.flows.events is not None:
        for index, name in enumerate(config.flows.events.targets):
            yield ("flows", "events", "to", index), name, "listener"
    for key, owner in (("stock.on_hand", config.owns.on_hand), ("shipment", config.owns.shipment)):
        if owner is not None:
            yield ("owns", key), owner, "erp"


def _check_significant(config: Config, document: Document) -> Iterator[Problem]:
    stock = config.flows.stock
    if stock is None:
        return
    places: list[tuple[Path, Mapping[str, object]]] = [
        (("flows", "stock", "significant", "channels"), stock.significant.channels)
    ]
    places += [
        (("overrides", index, "stock.significant", "channels"), override.stock_significant.channels)
        for index, override in enumerate(config.overrides)
        if override.stock_significant is not None
    ]
    for path, channels in places:
        for name in channels:
            if name not in stock.targets:
                yield Problem(
                    mark=document.mark_of_key((*path, name)),
                    message=f"{'.'.join(map(str, path))} names {name!r}, to which the stock flow does not go",
                    hint=suggest(name, list(stock.targets)) or f"flows.stock.to is: {', '.join(stock.targets)}",
                )


def _check_agreement(config: Config, document: Document) -> Iterator[Problem]:
    pairs = (
        ("stock", config.flows.stock and config.flows.stock.source, "stock.on_hand", config.owns.on_hand),
        ("shipments", config.flows.shipments and config.flows.shipments.source, "shipment", config.owns.shipment),
        ("payments", config.flows.payments and config.flows.payments.source, "payment", config.owns.payment),
    )
    for flow, source, key, owner in pairs:
        if source and owner and source != owner:
            yield Problem(
                mark=document.mark_of(("flows", flow, "from")),
                message=f"flow {flow!r} comes from {source!r}, but `owns` says that {owner!r} owns {key}",
                hint="exactly one connection writes a field: name the same one in both places",
            )
        elif source and owner is None:
            yield Problem(
                mark=document.mark_of(("flows", flow)),
                message=f"flow {flow!r} needs an owner of {key}",
                hint=f"add under `owns`: {key}: {source}",
            )
    yield from _check_capture(config, document)
    yield from _check_events(config, document)
    orders, stock = config.flows.orders, config.flows.stock
    for key in ("weights", "minimum"):
        for name in getattr(stock.allocation, key) if stock is not None else ():
            if stock is not None and name not in stock.targets:
                yield Problem(
                    mark=document.mark_of(("flows", "stock", "allocation", key, name)),
                    message=f"flows.stock.allocation.{key} names {name!r}, to which the stock flow does not go",
                    hint=suggest(name, list(stock.targets)) or f"flows.stock.to is: {', '.join(stock.targets)}",
                )
    yield from _check_significant(config, document)
    for place, override in enumerate(config.overrides):
        for name in override.stock_peak or ():
            if stock is not None and name not in stock.targets:
                yield Problem(
                    mark=document.mark_of(("overrides", place, "stock.peak", name)),
                    message=f"stock.peak names {name!r}, to which the stock flow does not go",
                    hint=suggest(name, list(stock.targets)) or f"flows.stock.to is: {', '.join(stock.targets)}",
                )
    named = (
        (("flows", "orders", "from"), orders.sources if orders else None),
        (("flows", "stock", "to"), stock.targets if stock else None),
        (("flows", "events", "to"), config.flows.events.targets if config.flows.events else None),
    )
    for path, names in named:
        if names is not None and not names:
            yield Problem(mark=document.mark_of(path), message=f"{'.'.join(path)} names no connection")
        elif names is not None and len(set(names)) < len(names):
            yield Problem(mark=document.mark_of(path), message=f"{'.'.join(path)} names a connection twice")


def _check_events(config: Config, document: Document) -> Iterator[Problem]:
    """Each type that is asked for exists."""
    for index, pattern in enumerate(config.flows.events.types if config.flows.events is not None else ()):
        if not any(matches(event_type, [pattern]) for event_type in EVENT_TYPES):
            yield Problem(
                mark=document.mark_of(("flows", "events", "types", index)),
                message=f"flows.events.types: there is no event {pattern!r}",
                hint=f"there are: {', '.join(EVENT_TYPES)}; order.* means all of orders",
            )


def _check_capture(config: Config, document: Document) -> Iterator[Problem]:
    """Who captures is the provider whose payments are known: without them there is nothing to capture."""
    shipments, payments = config.flows.shipments, config.flows.payments
    capture = shipments.capture if shipments is not None else None
    if capture is not None and (payments is None or payments.source != capture):
        yield Problem(
            mark=document.mark_of(("flows", "shipments", "capture")),
            message=f"flows.shipments.capture names {capture!r}, but flows.payments does not come from it",
            hint=f"add under `flows`: payments: {{from: {capture}}}",
        )


def check_network(config: Config, document: Document) -> Iterator[Problem]:
    """Allowed networks are networks."""
    for index, network in enumerate(config.network.allow):
        try:
            ipaddress.ip_network(network)
        except ValueError:
            yield Problem(
                mark=document.mark_of(("network", "allow", index)),
                message=f"{network!r} is no network",
                hint='write for example "10.1.2.0/24", or "10.1.2.3/32" for one address',
            )


def check_places(config: Config, document: Document) -> Iterator[Problem]:
    """Addresses and ports of our own are usable and do not collide."""
    listen = config.listen
    if listen.port == listen.web_port:
        mark = document.mark_of(("listen", "web_port"))
        yield Problem(mark=mark, message="listen.port and listen.web_port are the same", hint="the door needs its own")
    for key, host in (("host", listen.host), ("web_host", listen.web_host)):
        try:
            ipaddress.ip_address(host)
        except ValueError:
            yield Problem(
                mark=document.mark_of(("listen", key)),
                message=f"listen.{key} must be an address of this machine",
                hint="127.0.0.1 for this machine only, 0.0.0.0 for every network it is in",
            )
    if config.public_url is not None and not _is_web_address(config.public_url, bare=True):
        yield Problem(
            mark=document.mark_of(("public_url",)),
            message="public_url must be scheme and host, nothing behind",
            hint="write for example https://hooks.example.com",
        )


def _is_web_address(value: object, *, bare: bool = False) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises ValueError for a port that is none
    except ValueError:
        return False
    plain = not parts.query and not parts.fragment and (not bare or parts.path in ("", "/"))
    return parts.scheme in ("http", "https") and bool(parts.hostname) and plain
