"""Count in the real systems' own books whether everything arrived once. Nothing here asks Tidegate what it believes,
but for its ledger, which is one of the four that must agree."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from e2e.stage import SHOPS, Stage
from e2e.watch import DOUBLE_ENTRIES, IMBALANCE, LEDGER, WRONG_LEVELS, Watch

SERVICES = ("SHIPPING", "DISCOUNT")


@dataclass
class Verdict:
    """The figures, and for people what differs."""

    figures: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    def is_clean(self) -> bool:
        """Whether every figure that must be zero is."""
        zeros = (
            "orders_differing", "lost", "duplicate_effects", "oversold_by_tidegate", "stock_mismatch",
            "conservation_imbalance",
        )  # fmt: skip
        figures = self.figures
        return (
            not any(figures[name] for name in zeros)
            and figures["orders_store"] == figures["orders_erp"]
            and figures["shipments_erp"] == figures["fulfillments_store"]
        )


def judge(stage: Stage, watch: Watch) -> Verdict:
    """Compare shops, ERP and ledger."""
    verdict = Verdict()
    orders = {order["code"]: (name, order) for name in SHOPS for order in stage.shops[name].orders()}
    sales = [sale for sale in stage.erp.warehouse.sales() if sale.web_id]
    _compare_orders(verdict, orders, sales)
    _compare_shipments(verdict, orders, stage)
    _compare_stock(verdict, stage, watch)
    verdict.figures["duplicate_effects"] += watch.value(DOUBLE_ENTRIES)
    verdict.figures["conservation_imbalance"] = watch.value(IMBALANCE) + watch.value(WRONG_LEVELS)
    return verdict


def _compare_orders(verdict: Verdict, orders: dict[str, tuple[str, Any]], sales: list[Any]) -> None:
    by_reference: dict[str, list[Any]] = {}
    for sale in sales:
        by_reference.setdefault(sale.reference, []).append(sale)
    differing = missing = 0
    for code, (_, order) in orders.items():
        found = by_reference.get(code, [])
        if not found:
            missing += 1
            verdict.differences.append(f"order {code} is not in the ERP")
            continue
        problem = order_difference(order, found[0])
        if problem:
            differing += 1
            verdict.differences.append(f"order {code}: {problem}")
    strangers = [reference for reference in by_reference if reference not in orders]
    verdict.differences += [f"sale {reference!r} has no order" for reference in strangers]
    verdict.figures.update(
        orders_store=len(orders),
        orders_erp=len(by_reference),
        orders_differing=differing + len(strangers),
        lost=missing,
        duplicate_effects=sum(len(found) - 1 for found in by_reference.values()),
    )


def order_difference(order: Any, sale: Any) -> str | None:
    """Return in which way an order and its sale differ: lines, total or state."""
    ordered = Counter({line["productVariant"]["sku"]: 0 for line in order["lines"]})
    for line in order["lines"]:
        ordered[line["productVariant"]["sku"]] += line["quantity"]
    sold: Counter[str] = Counter()
    for line in sale.lines:
        if line.sku not in SERVICES:
            sold[line.sku] += line.quantity
    if +ordered != +sold:
        return f"lines {dict(+ordered)} in the shop, {dict(+sold)} in the ERP"
    if Decimal(order["totalWithTax"]) / 100 != sale.total:
        return f"total {order['totalWithTax']} in the shop, {sale.total} in the ERP"
    is_cancelled = order["state"] == "Cancelled"
    if is_cancelled != (sale.state == "cancelled") or (not is_cancelled and sale.state not in ("processing", "done")):
        return f"state {order['state']} in the shop, {sale.state} in the ERP"
    return None


def _compare_shipments(verdict: Verdict, orders: dict[str, tuple[str, Any]], stage: Stage) -> None:
    shipments = stage.erp.warehouse.shipments_done()
    reference_of = {sale.web_id: sale.reference for sale in stage.erp.warehouse.sales() if sale.web_id}
    fulfillments: dict[str, list[tuple[str, Any]]] = {}
    for code, (_, order) in orders.items():
        for fulfillment in order["fulfillments"] or ():
            fulfillments.setdefault(fulfillment["trackingCode"] or "", []).append((code, fulfillment))
    lost = 0
    for shipment in shipments:
        found = fulfillments.get(shipment.tracking, [])
        codes = {reference_of.get(web_id, "?") for web_id in shipment.web_ids}
        if not any(code in codes for code, _ in found):
            lost += 1
            verdict.differences.append(f"shipment {shipment.number} ({shipment.tracking}) of {codes} is in no shop")
            continue
        pieces = sum(line.quantity for line in shipment.lines)
        told = sum(line["quantity"] for line in found[0][1]["lines"])
        if pieces != told or found[0][1]["state"] != "Shipped":
            verdict.figures["orders_differing"] += 1
            state = found[0][1]["state"]
            verdict.differences.append(f"shipment {shipment.number}: {pieces} pieces left, {told} told, state {state}")
    verdict.figures["lost"] += lost
    verdict.figures["shipments_erp"] = len(shipments)
    verdict.figures["fulfillments_store"] = sum(len(found) for found in fulfillments.values())
    verdict.figures["duplicate_effects"] += sum(len(found) - 1 for found in fulfillments.values())


def _compare_stock(verdict: Verdict, stage: Stage, watch: Watch) -> None:
    """Compare what may still be sold. Below zero is oversold: it counts as zero to sell, in every system."""
    shops = {
        name: {sku: max(0, on_hand - allocated) for sku, (on_hand, allocated) in shop.stock_levels().items()}
        for name, shop in stage.shops.items()
    }
    erp = stage.erp.warehouse.sellable()
    ledger = {row["sku"]: row["available"] for row in watch.fetch(LEDGER)}
    mismatches = oversold = raced = 0
    for article in stage.articles:
        sku = article.sku
        numbers = {
            **{name: shop.get(sku, 0) for name, shop in shops.items()},
            "erp": max(0, erp.get(sku, 0)),
            "ledger": max(0, ledger.get(sku, 0)),
        }
        if len(set(numbers.values())) > 1 or erp.get(sku, 0) != ledger.get(sku, 0):
            mismatches += 1
            verdict.differences.append(f"{sku}: {numbers}, below zero: erp {erp.get(sku)}, ledger {ledger.get(sku)}")
        short = max(0, -erp.get(sku, 0))
        if sku == "HOT":
            raced += short
        else:
            oversold += short
    verdict.figures.update(stock_mismatch=mismatches, oversold_by_tidegate=oversold, oversold_in_a_race=raced)
