"""What becomes of oversold orders: steps that can be carried out, and are reached. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tidegate.config.document import Document, Path, Problem
from tidegate.config.records import Config, OversellStep
from tidegate.sdk.connector import Connector

_LAST: tuple[OversellStep, ...] = ("backorder", "ask")
"""What takes every order that comes to it."""


def check_oversell(config: Config, document: Document, connectors: Mapping[str, Connector] | None) -> Iterator[Problem]:
    """Each step of `flows.stock.oversell` can be carried out by the connectors at hand, and none stands behind the last one."""
    steps = config.flows.stock.oversell if config.flows.stock is not None else ()
    whole: Path = ("flows", "stock", "oversell")
    for index, step in enumerate(steps):
        place = (*whole, index) if (*whole, index) in document.values else whole
        mark = document.mark_of(place)
        if step in steps[:index]:
            yield Problem(mark=mark, message=f"flows.stock.oversell names {step} twice")
        elif index and steps[index - 1] in _LAST:
            yield Problem(
                mark=mark,
                message=f"flows.stock.oversell never comes to {step}: {steps[index - 1]} takes every order",
                hint=f"put {steps[index - 1]} last",
            )
        elif step == "other_location":
            yield from (
                Problem(mark=mark, message=f"flows.stock.oversell cannot be other_location: {why}", hint=hint)
                for why, hint in _why_not_elsewhere(config, connectors)
            )
        elif step == "cancel_newest":
            yield from (
                Problem(mark=mark, message=f"flows.stock.oversell cannot be cancel_newest: {why}", hint=hint)
                for why, hint in why_not_cancelled(
                    config, connectors, config.flows.orders.sources if config.flows.orders else ()
                )
            )


def _why_not_elsewhere(config: Config, connectors: Mapping[str, Connector] | None) -> Iterator[tuple[str, str]]:
    """Yield why orders cannot be served from elsewhere, and what to do: whoever ships must be told from where."""
    orders = config.flows.orders
    if orders is None:
        yield "there is no flow of orders, so nobody is told from where to ship", "add flows.orders, or take it out"
        return
    erp = config.connections.get(orders.target)
    connector = (connectors or {}).get(erp.use) if erp is not None else None
    if connector is not None and not connector.names_location:
        words = f"connector {connector.name!r} of {orders.target!r} cannot say from which location an order is to leave"
        yield words, "take it out: orders stay where they stand"


def why_not_cancelled(
    config: Config, connectors: Mapping[str, Connector] | None, names: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Yield why orders cannot be cancelled in shops, and what to do: each must be able to, and the money must go back."""
    orders, payments = config.flows.orders, config.flows.payments
    if orders is None:
        yield "there is no flow of orders", "add flows.orders, or take it out"
        return
    gives_back = payments is not None and payments.refunds in ("both", "to_provider")
    for name in names:
        shop = config.connections.get(name)
        connector = (connectors or {}).get(shop.use) if shop is not None else None
        if connector is None:
            continue
        if not connector.cancels_own_orders:
            words = f"connector {connector.name!r} of {name!r} cannot cancel an order in its shop"
            yield words, "take it out: what nobody can serve is cancelled in the shop by hand"
        elif not connector.cancel_pays_back and not gives_back:
            words = f"{name!r} pays nothing back for an order that it is asked to cancel, and no payments flow does"
            yield words, "add flows.payments with refunds: both or to_provider, or take it out"
