"""Fold a batch into the state, pure: events in, new state and what follows from it out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, assert_never
from uuid import UUID

from tidegate.commerce import changes
from tidegate.commerce.changes import CanonicalChange
from tidegate.commerce.events import EventType
from tidegate.commerce.states import OrderState
from tidegate.inventory.ledger import Posting
from tidegate.inventory.reserve import Claimant, claims_of
from tidegate.kernel.ids import new_id, parse_public_id, public_id
from tidegate.orders.fold import fold_order, match_shipment_lines, new_order, ship_units
from tidegate.orders.payments import (
    add_refund,
    fold_payment,
    is_untold,
    join,
    money_of,
    pay_back,
    payment_state_of,
    see_channel_refund,
    see_provider_refund,
)
from tidegate.orders.records import Line, Order, PspPayment
from tidegate.sdk.windows import split_window, window_text
from tidegate.sync.catalogue import Catalogue
from tidegate.sync.gate import Stamp, Verdict, judge, remember
from tidegate.sync.plan import before_since_reason, plan_events, plan_fulfillment, plan_order, plan_payments
from tidegate.sync.policy import Policy
from tidegate.sync.records import (
    Expected,
    FetchRequest,
    GateKey,
    Listing,
    ListingChange,
    NewFulfillment,
    Outcome,
    Park,
    Prepared,
    Result,
    State,
    WindowCount,
)

PARENT_WAIT = timedelta(seconds=60)
"""How long a shipment waits for an order that is not known yet before it is looked at again."""
UNSEEN_WAIT = timedelta(seconds=15)
"""How long a payment that an order names is given to be shown by its provider, before it is read."""
ORDER_WAIT = timedelta(minutes=10)
"""How long the order that a payment names is given to be shown by its channel, before it is read."""
ERP_WAIT = timedelta(seconds=5)
"""How long an order waits for the ERP to be connected before it is looked at again."""
WINDOW_TOPIC = "window"
"""What connectors call the read of the orders that were placed in a window."""
WINDOW_ORDERS = 100
"""Orders that one such read shall have to list."""
WINDOW_PARTS_MAX = 100
PAYMENT_UNKNOWN = "payment_unknown"
"""Read although its version is known: the order is paid, and the shop did not tell by which payment."""
BEFORE_SINCE = "before_since"
BEFORE_FLOW = "before_flow"
"""Why a refund is not carried over: it was made while no payments flow looked at both sides."""
_NOT_SEEN = ("not_owner", BEFORE_SINCE)
"""Ignored because of the configuration: under another one the same event counts, so its version is not remembered."""
_RANK = ("ignored", "superseded", "applied", "needs_fetch", "parked", "quarantined")

_FIRM = ("authorised", "captured")
"""States of a payment that an order belongs to."""
_VERSION_MASK = (1 << 62) - 1
_EXPECTED_NAME_MAX = 120
_UNITS_MAX = 2**31 - 1

Versioned = (
    changes.OrderSeen
    | changes.OrderGone
    | changes.ShipmentSeen
    | changes.FulfillmentSeen
    | changes.StockMoved
    | changes.GoodsExpected
    | changes.PaymentObserved
    | changes.RefundSeen
    | changes.VariantSeen
    | changes.VariantGone
    | changes.LocationSeen
)


FETCH_TOPIC: dict[type[Versioned], str] = {
    changes.OrderSeen: "order",
    changes.OrderGone: "order",
    changes.ShipmentSeen: "shipment",
    changes.FulfillmentSeen: "fulfillment",
    changes.StockMoved: "move",
    changes.GoodsExpected: "receipt",
    changes.PaymentObserved: "payment",
    changes.RefundSeen: "refund",
    changes.VariantSeen: "variant",
    changes.VariantGone: "variant",
    changes.LocationSeen: "location",
}
"""What a connector's `fetch` calls the entity of a change."""


_STATE_OF: dict[type[Versioned], type[Versioned]] = {
    changes.OrderGone: changes.OrderSeen,
    changes.VariantGone: changes.VariantSeen,
}


def _tag_of(kind: type[Versioned]) -> str:
    """Return under what an observation's version is kept. That an order or an article is gone is one more state of it."""
    return str(_STATE_OF.get(kind, kind).__struct_config__.tag)


_TAG_OF = {topic: _tag_of(kind) for kind, topic in FETCH_TOPIC.items()}


ORDER_KIND = _TAG_OF["order"]
"""What the gates of orders are called."""


def hint_key(connection_id: UUID, hint: changes.NeedsFetch) -> GateKey | None:
    """Return the key of the gate that a hint's version is compared with, None for a hint that tells none."""
    tag = _TAG_OF.get(hint.topic)
    return (connection_id, tag, hint.external_id) if hint.version and tag is not None else None


def gate_key(connection_id: UUID, change: Versioned) -> GateKey:
    """Return the key of a change's version gate."""
    is_product = isinstance(change, changes.VariantGone) and change.is_product
    name = f"product:{change.external_id}" if is_product else change.external_id
    return (connection_id, _tag_of(type(change)), name)


def stamp_of(change: Versioned, mapping_version: int) -> Stamp:
    """Return the stamp of a change."""
    digest = hashlib.blake2b(changes.content_of(change), digest_size=16).digest()
    return Stamp(change.version, change.sequence, mapping_version, digest)


def parse_reference(text: str, kind: str) -> UUID | None:
    """Return the id in a reference of ours, None for anything else."""
    try:
        return parse_public_id(text, kind=kind) if text else None
    except ValueError:
        return None


def may_be_bound(listing: Listing) -> bool:
    """Return whether an article that is there takes a place that a deletion left. Pure."""
    is_free = not listing.is_bound and not listing.is_taken and listing.variant_id is not None
    return is_free and (listing.is_buried or (listing.was_deleted and not listing.is_ignored))


class Fold:
    """One batch of one tenant being folded. Not reused."""

    def __init__(self, state: State, catalogue: Catalogue, policy: Policy, now: datetime) -> None:
        """Fold into `state`, which is changed."""
        self.result = Result()
        self._state = state
        self._catalogue = catalogue
        self._policy = policy
        self._now = now
        self._hinted: dict[tuple[UUID, str, str], UUID] = {}
        """What the batch asked to be read -> the event that asked first."""

    def run(self, batch: Sequence[Prepared]) -> Result:
        """Fold every event in order and return what follows."""
        for prepared in batch:
            self.result.outcomes.append((prepared, prepared.failure or self._event(prepared)))
        for order_id, event_id in self.result.changed_orders.items():
            self._settle(self._state.orders[order_id], event_id)
        self._plan_orders()
        self._plan_payments()
        if self._policy.listeners:
            self._plan_events()
        return self.result

    def _event(self, prepared: Prepared) -> Outcome:
        outcomes = [self._change(prepared, change) for change in prepared.changes]
        if len(outcomes) == 1:
            return outcomes[0]
        if not outcomes:
            return Outcome("ignored", "no_change")
        return max(outcomes, key=lambda outcome: _RANK.index(outcome.outcome))

    def _change(self, prepared: Prepared, change: CanonicalChange) -> Outcome:
        match change:
            case changes.Ignored():
                return Outcome("ignored", change.code, change.reason or None)
            case changes.NeedsFetch():
                return self._hint(prepared, change)
            case changes.NeedsPerson():
                return Outcome("quarantined", change.code, change.reason)
            case changes.OrdersCounted():
                return self._orders_counted(prepared, change)
            case _:
                return self._versioned(prepared, change)

    def _hint(self, prepared: Prepared, hint: changes.NeedsFetch) -> Outcome:
        """Ask for what an event only hints at, unless the hint itself says that it is no news."""
        connection_id = prepared.event.connection_id
        key = hint_key(connection_id, hint)
        stored = (self.result.new_gates.get(key) or self._state.gates.get(key)) if key is not None else None
        if stored is not None and stored.version >= hint.version:
            if not self._is_untold(connection_id, hint):
                return Outcome("superseded", "known_version")
            outcome = self._fetch(prepared, hint.topic, hint.external_id)
            return outcome._replace(code=PAYMENT_UNKNOWN) if outcome.code == "needs_fetch" else outcome
        since = self._policy.orders_since if connection_id in self._policy.order_channels else None
        if stored is None and hint.placed_at is not None and since is not None and hint.placed_at < since:
            return Outcome("ignored", BEFORE_SINCE, before_since_reason("orders", hint.placed_at, since))
        return self._fetch(prepared, hint.topic, hint.external_id)

    def _is_untold(self, connection_id: UUID, hint: changes.NeedsFetch) -> bool:
        """Return whether an order of a known version must be read all the same, for the payments that it was paid by.

        A feed tells each version of an order once, so what stays unknown is read once for each.
        """
        if hint.topic != "order" or not self._policy.asks_for_payments(connection_id):
            return False
        key = (connection_id, hint.external_id)
        money = self._state.money.get(key)
        order_id = self._state.order_of.get(key)
        order = self._state.orders.get(order_id) if order_id is not None else None
        if order is not None:
            money = money_of(order, money)
        since = self._policy.payments_since
        return money is not None and is_untold(money) and (since is None or money.placed_at >= since)

    def _versioned(self, prepared: Prepared, change: Versioned) -> Outcome:
        key = gate_key(prepared.event.connection_id, change)
        seen = stamp_of(change, prepared.mapping_version)
        stored = self.result.new_gates.get(key) or self._state.gates.get(key)
        if isinstance(change, changes.OrderGone | changes.VariantGone) and not change.version and stored is not None:
            seen = seen._replace(version=stored.version)
        verdict = judge(stored, seen, is_fetch=prepared.event.source == "fetch")
        if verdict is Verdict.OLDER:
            return Outcome("superseded", "older_version")
        if verdict is Verdict.SAME and not self._is_due(prepared.event.connection_id, change):
            self._keep_gate(key, remember(stored, seen, verdict), stored)
            return Outcome("superseded", "same_content")
        if stored is not None and isinstance(change, changes.StockMoved):
            self._keep_gate(key, seen, stored)
            return Outcome("superseded", "movement_known", "a movement posts once, whatever is edited of it later")
        if verdict is Verdict.FETCH:
            return self._fetch(prepared, FETCH_TOPIC[type(change)], change.external_id)
        outcome = self._apply(prepared, change)
        if outcome.outcome in ("applied", "ignored") and outcome.code not in _NOT_SEEN:
            self._keep_gate(key, seen, stored)
        return outcome

    def _keep_gate(self, key: GateKey, stamp: Stamp | None, stored: Stamp | None) -> None:
        if stamp is not None and stamp != stored:
            self.result.new_gates[key] = stamp

    def _apply(self, prepared: Prepared, change: Versioned) -> Outcome:
        match change:
            case changes.OrderSeen():
                return self._order_seen(prepared, change)
            case changes.OrderGone():
                return self._order_gone(prepared, change)
            case changes.StockMoved():
                return self._stock_moved(prepared, change)
            case changes.GoodsExpected():
                return self._goods_expected(prepared, change)
            case changes.ShipmentSeen():
                return self._shipment_seen(prepared, change)
            case changes.FulfillmentSeen():
                known = parse_reference(change.reference, "ful")
                return Outcome("ignored", "echo" if known else "foreign_fulfillment", None, "fulfillment", known)
            case changes.PaymentObserved():
                return self._payment_observed(prepared, change)
            case changes.RefundSeen():
                return self._refund_seen(prepared, change)
            case changes.VariantSeen():
                return self._variant_seen(prepared, change)
            case changes.VariantGone():
                return self._variant_gone(prepared, change)
            case changes.LocationSeen():
                found = self._catalogue.location(prepared.event.connection_id, change.external_id)
                return Outcome("applied", "known", None, "location", found)
            case _:
                assert_never(change)

    def _fetch(self, prepared: Prepared, topic: str, external_id: str) -> Outcome:
        event = prepared.event
        rules, key = self._policy.lane(event.connection_id), (event.connection_id, topic, external_id)
        leader = self._hinted.setdefault(key, event.event_id)
        wait = timedelta(seconds=rules.wait_for_hints(topic))
        self.result.fetches.append(FetchRequest(*key, event.event_id, wait, rules.bundle_max))
        if leader != event.event_id:
            by = public_id("evt", self._policy.cell, leader)
            return Outcome(
                "needs_fetch", "bundled", f"the read of {topic} {external_id} that {by} asked for serves it too"
            )
        return Outcome("needs_fetch", "needs_fetch", f"{topic} {external_id} is read through the lane")

    def _park(self, prepared: Prepared, code: str, reason: str, wait: timedelta) -> Outcome:
        self.result.parks.append(Park(prepared, code, reason, self._now + wait))
        return Outcome("parked", code, reason)

    # --- orders ------------------------------------------------------------------------------------------------
    def _order_seen(self, prepared: Prepared, change: changes.OrderSeen) -> Outcome:
        connection_id = prepared.event.connection_id
        if self._policy.is_erp_missing and connection_id in self._policy.order_channels:
            return self._park(
                prepared, "erp_not_connected", "the ERP of the orders flow is not connected yet", ERP_WAIT
            )
        order_id = self._state.order_of.get((connection_id, change.external_id))
        since = self._policy.orders_since if connection_id in self._policy.order_channels else None
        if order_id is None and since is not None and change.placed_at < since:
            return Outcome("ignored", BEFORE_SINCE, before_since_reason("orders", change.placed_at, since))
        if order_id is None:
            order = new_order(change, order_id=new_id(), connection_id=connection_id)
            self._state.order_of[connection_id, change.external_id] = order.order_id
            self._state.orders[order.order_id] = order
        else:
            order = self._state.orders[order_id]
        fold_order(
            order,
            change,
            variant_of=lambda line: self._catalogue.variant((connection_id, line.variant_external_id, line.sku)),
            location_id=self._catalogue.default_location(),
            make_id=new_id,
        )
        if order.order_state is not OrderState.DRAFT:
            self._see_reservations(order, change)
        order.channel_payment_state = change.payment_state
        self._see_payments(order, change, prepared.event.event_id)
        order.version += 1
        self.result.changed_orders[order.order_id] = prepared.event.event_id
        plan = plan_order(order, self._policy, prepared.event.event_id)
        if plan.reason is not None and plan.create is None and plan.cancel is None:
            return Outcome("applied", plan.code, plan.reason, "order", order.order_id)
        code = "totals_mismatch" if order.totals_mismatch else "applied"
        return Outcome("applied", code, None, "order", order.order_id)

    def _see_reservations(self, order: Order, change: changes.OrderSeen) -> None:
        """Note which reservations the order may claim, and let its new lines stand where their units are held."""
        bills = {line.line_id: self._catalogue.bill(line.variant_id) for line in order.lines.values()}
        claimant = Claimant(
            order_id=order.order_id,
            connection_id=order.connection_id,
            names=frozenset((order.external_id, order.number)),
            reservation_ids=frozenset(
                found for text in change.reservations if (found := parse_reference(text, "res")) is not None
            ),
            references=frozenset(change.reservations),
            items=frozenset(item_id for bill in bills.values() for item_id, _ in bill),
            stands=any(order.committed_units(line) for line in order.lines.values()),
        )
        self.result.claimants[order.order_id] = claimant
        if not self._state.standing:
            return
        places: dict[UUID, set[UUID]] = {}
        for standing, _ in claims_of([claimant], self._state.standing.values()):
            for hold in standing.holds:
                places.setdefault(hold.item_id, set()).add(hold.location_id)
        for line in order.lines.values():
            held = {place for item_id, _ in bills[line.line_id] for place in places.get(item_id, ())}
            if line.is_new and not line.committed_before and len(held) == 1:
                line.location_id = held.pop()

    def _order_gone(self, prepared: Prepared, change: changes.OrderGone) -> Outcome:
        """Cancel what is left of an order that the channel has no more. What has left, or was cancelled, stays as it is."""
        order_id = self._state.order_of.get((prepared.event.connection_id, change.external_id))
        if order_id is None:
            return Outcome("ignored", "order_unknown", "an order that nobody here knows was deleted")
        order = self._state.orders[order_id]
        units = sum(order.committed_units(line) for line in order.lines.values())
        if not units:
            return Outcome(
                "applied", "order_gone", "it was deleted in the channel, and nothing of it was open", "order", order_id
            )
        order.order_state = OrderState.CANCELLED
        order.is_changed = True
        order.version += 1
        self.result.changed_orders[order_id] = prepared.event.event_id
        reason = f"it was deleted in the channel: it counts as cancelled, and {units} units are released"
        return Outcome("applied", "order_gone", reason, "order", order_id)

    def _settle(self, order: Order, event_id: UUID) -> None:
        """Post the differences between what stood committed and what stands committed now."""
        for line in sorted(order.lines.values(), key=lambda each: each.position):
            held = order.held_units(line)
            if held != line.held_before:
                for item_id, per_unit in self._catalogue.sold_as(line.variant_id):
                    self.result.sold[order.connection_id, item_id] += (held - line.held_before) * per_unit
                line.held_before = held
            delta = order.committed_units(line) - line.committed_before
            if delta == 0:
                continue
            line.committed_before += delta
            kind = "commit" if delta > 0 else "release"
            for item_id, per_unit in self._catalogue.bill(line.variant_id):
                cause = f"{kind}:{line.line_id}:{order.version}:{item_id}"
                self.result.postings.append(
                    Posting(
                        item_id, line.location_id, kind, cause,
                        committed_delta=delta * per_unit, event_id=event_id, order_line_id=line.line_id,
                    )
                )  # fmt: skip

    def _plan_orders(self) -> None:
        for order_id, event_id in self.result.changed_orders.items():
            plan = plan_order(self._state.orders[order_id], self._policy, event_id)
            if plan.create is not None:
                self.result.commands.append(plan.create)
            if plan.cancel is not None:
                self.result.cancels.append(plan.cancel)

    def _plan_events(self) -> None:
        """Plan what the listeners are told: once per entity and batch, however much of it changed."""
        tell = self.result.commands
        for order_id, event_id in self.result.changed_orders.items():
            order = self._state.orders[order_id]
            kind: EventType = "order.cancelled" if order.order_state is OrderState.CANCELLED else "order.updated"
            tell += plan_events("order", order_id, order.version, kind, self._policy, event_id)
        for made in self.result.fulfillments:
            tell += plan_events("shipment", made.fulfillment_id, 1, "shipment.created", self._policy, None)
        moved = {posting.item_id: posting.event_id for posting in self.result.postings}
        for item_id, cause in sorted(moved.items()):
            tell += plan_events("item", item_id, fresh_version(), "stock.updated", self._policy, cause)

    def _orders_counted(self, prepared: Prepared, change: changes.OrdersCounted) -> Outcome:
        """Compare a channel's count of a closed window with what is known; where orders are missing, have the window read."""
        connection_id = prepared.event.connection_id
        since = self._policy.orders_since
        if connection_id not in self._policy.order_channels or since is None or change.since < since:
            return Outcome("ignored", "not_compared", "orders of this window are not all of interest here")
        ours = self._state.counted.get((connection_id, change.since, change.until), 0)
        event_id = prepared.event.event_id
        self.result.counts.append(WindowCount(connection_id, change.since, change.until, change.count, ours, event_id))
        window = window_text(change.since, change.until)
        if change.count <= ours:
            return Outcome("applied", "orders_even", f"{window}: {change.count} orders there, {ours} here")
        parts = min(WINDOW_PARTS_MAX, -(-change.count // WINDOW_ORDERS))
        for part in split_window(window, parts):
            self.result.fetches.append(FetchRequest(connection_id, WINDOW_TOPIC, part, event_id))
        reason = f"{window}: {change.count} orders there, {ours} here: the window is read"
        return Outcome("applied", "orders_missing", reason)

    # --- articles ----------------------------------------------------------------------------------------------
    def _is_due(self, connection_id: UUID, change: Versioned) -> bool:
        """Return whether a change counts although it says what is known: what follows from it was not done."""
        if isinstance(change, changes.VariantGone):
            return True
        listing = self._state.listings.get((connection_id, change.external_id))
        return isinstance(change, changes.VariantSeen) and listing is not None and may_be_bound(listing)

    def _variant_gone(self, prepared: Prepared, change: changes.VariantGone) -> Outcome:
        """Bury the article, or every article of a product."""
        connection_id = prepared.event.connection_id
        names = self._state.parts.get((connection_id, change.external_id), ()) if change.is_product else ()
        buried = []
        for external_id in names or (change.external_id,):
            listing = self._state.listings.get((connection_id, external_id))
            if listing is None or not listing.is_bound or listing.variant_id is None:
                continue
            self._bind(
                ListingChange("deleted", connection_id, external_id, listing.variant_id, prepared.event.event_id)
            )
            buried.append(listing.variant_id)
        if not buried:
            return Outcome("ignored", "variant_unknown", "an article that is bound to nothing was deleted")
        reason = f"it was deleted there: {len(buried)} articles are told no numbers any more, their orders go on"
        return Outcome("applied", "variant_gone", reason, "variant", buried[0])

    def _variant_seen(self, prepared: Prepared, change: changes.VariantSeen) -> Outcome:
        """Bind an article again that was deleted and is back, or that took the place of a deleted one."""
        connection_id = prepared.event.connection_id
        variant_id = self._catalogue.variant((connection_id, change.external_id, change.sku))
        listing = self._state.listings.get((connection_id, change.external_id))
        if listing is None or not may_be_bound(listing) or listing.variant_id is None:
            return Outcome("applied", "known", None, "variant", variant_id)
        if prepared.event.source == "webhook":  # it may be old: the article itself is asked for
            return self._fetch(prepared, "variant", change.external_id)
        kind: Literal["restored", "relinked", "relink_asked"] = "restored" if listing.is_buried else "relinked"
        if kind == "relinked" and (listing.rivals or connection_id in self._policy.relink_by_hand):
            kind = "relink_asked"
        self._bind(
            ListingChange(
                kind, connection_id, change.external_id, listing.variant_id, prepared.event.event_id, change.sku,
                change.title, change.parent_external_id, change.counted_external_id,
            )
        )  # fmt: skip
        reason = {
            "restored": "it is there again: its numbers are told as before",
            "relinked": "it has the SKU of an article that was deleted there, alone: it is bound in its place",
            "relink_asked": "it has the SKU of an article that was deleted there; which one takes its place, a person says: "
            "tidegate matches list",
        }[kind]
        return Outcome("applied", f"variant_{kind}", reason, "variant", listing.variant_id)

    def _bind(self, done: ListingChange) -> None:
        """Note what becomes of an article, and let the rest of the batch know."""
        self.result.listings.append(done)
        is_bound = done.kind in ("restored", "relinked")
        for key, known in self._state.listings.items():
            if key[0] == done.connection_id and known.variant_id == done.variant_id:
                here = key[1] == done.external_id
                self._state.listings[key] = known._replace(
                    is_bound=is_bound if here else known.is_bound,
                    is_buried=done.kind == "deleted" if here else known.is_buried,
                    is_taken=is_bound,
                    was_deleted=known.was_deleted or done.kind == "deleted",
                )

    # --- payments ----------------------------------------------------------------------------------------------
    def _see_payments(self, order: Order, change: changes.OrderSeen, event_id: UUID) -> None:
        """Join the order with the payments that it names, and note the refunds that its channel shows."""
        provider = self._policy.provider
        if provider is None:
            return
        for seen in change.payments:
            if seen.kind != "refund" and seen.psp_reference:
                payment = self._payment(provider, seen.psp_reference)
                if payment.order_id is None and payment.state == "unseen":
                    self.result.fetches.append(
                        FetchRequest(provider, "payment", payment.external_id, event_id, wait=UNSEEN_WAIT)
                    )
                if payment.order_id is None and payment.state in _FIRM:
                    channels = sorted(self._policy.order_channels)
                    self.result.shown += [(channel, "order", order.external_id) for channel in channels]
                join(order, payment, self._state.loose_refunds.pop(payment.payment_id, ()))
        for seen in change.payments:
            if seen.kind == "refund":
                see_channel_refund(order, seen, ours=parse_reference(seen.reference, "rfn"), make_id=new_id)
        self._drive(order)

    def _payment(self, provider: UUID, external_id: str) -> PspPayment:
        """Return a payment, a new one where it was never heard of."""
        key = (provider, external_id)
        if key not in self._state.payments:
            self._state.payments[key] = PspPayment(new_id(), provider, external_id, is_new=True)
        return self._state.payments[key]

    def _drive(self, order: Order) -> None:
        """Let the provider's word on the money count for the order, where it does."""
        if order.is_called_off and order.connection_id not in self._policy.pays_back:
            pay_back(order, make_id=new_id)
        channel = order.channel_payment_state = order.channel_payment_state or order.payment_state
        drives = self._policy.drives_payment(order.placed_at)
        order.payment_state = payment_state_of(order, channel) if drives else channel

    def _payment_observed(self, prepared: Prepared, change: changes.PaymentObserved) -> Outcome:
        payment = self._payment(prepared.event.connection_id, change.external_id)
        if payment.state == "unseen":
            self.result.shown.append((payment.connection_id, "payment", payment.external_id))
        was_firm = payment.state in _FIRM
        fold_payment(payment, change)
        self._join_with_stored(payment)
        if change.order_hint and payment.order_id is None and payment.state in _FIRM and not was_firm:
            self._ask_for_order(payment, change.order_hint, prepared.event.event_id)
        return self._touch_order_of(prepared, payment, change.state)

    def _join_with_stored(self, payment: PspPayment) -> None:
        """Join a payment with the stored order that named it before that mattered.

        What went back before is left alone: nobody noted which refunds the channel showed then, so one that is carried over
        now could be there already.
        """
        order_id = self._state.naming.get((payment.connection_id, payment.external_id))
        if payment.order_id is None and order_id is not None:
            waiting = self._state.loose_refunds.pop(payment.payment_id, [])
            for refund in waiting:
                refund.carry, refund.code, refund.is_changed = "left", BEFORE_FLOW, True
            join(self._state.orders[order_id], payment, waiting)

    def _ask_for_order(self, payment: PspPayment, external_id: str, event_id: UUID) -> None:
        """Have the order that a payment names read, unless it comes by itself: once for each payment and channel."""
        if payment.connection_id != self._policy.provider:
            return
        for channel in sorted(self._policy.order_channels):
            self.result.fetches.append(FetchRequest(channel, "order", external_id, event_id, wait=ORDER_WAIT))

    def _refund_seen(self, prepared: Prepared, change: changes.RefundSeen) -> Outcome:
        connection_id = prepared.event.connection_id
        payment = self._payment(connection_id, change.payment_external_id)
        order = self._state.orders.get(payment.order_id) if payment.order_id is not None else None
        known = order.refunds if order is not None else self._state.loose_refunds.setdefault(payment.payment_id, [])
        ours = parse_reference(change.reference, "rfn")
        refund = see_provider_refund(payment, known, change, ours=ours, make_id=new_id)
        if refund.is_new and refund not in known:
            if order is not None:
                add_refund(order, refund)
            else:
                known.append(refund)
        if payment.state == "unseen":
            self.result.fetches.append(
                FetchRequest(connection_id, "payment", payment.external_id, prepared.event.event_id)
            )
        return self._touch_order_of(prepared, payment, change.kind)

    def _touch_order_of(self, prepared: Prepared, payment: PspPayment, code: str) -> Outcome:
        """Have everything that follows for the payment's order planned anew; say so where it waits for one."""
        order = self._state.orders.get(payment.order_id) if payment.order_id is not None else None
        if order is None:
            reason = f"no order names {payment.external_id} yet: it is kept, and joined when one does"
            return Outcome("applied", "order_awaited", reason, "payment", payment.payment_id)
        self._drive(order)
        order.version += 1
        self.result.changed_orders[order.order_id] = prepared.event.event_id
        plan = plan_order(order, self._policy, prepared.event.event_id)
        why = plan.reason if plan.create is None and plan.cancel is None else None
        return Outcome("applied", code, why, "order", order.order_id)

    def _plan_payments(self) -> None:
        provider = self._policy.provider
        if provider is None:
            return
        for order_id, event_id in self.result.changed_orders.items():
            order = self._state.orders[order_id]
            if order.psp:
                self.result.commands.extend(plan_payments(order, self._policy, provider, event_id, new_id))

    # --- stock -------------------------------------------------------------------------------------------------
    def _stock_moved(self, prepared: Prepared, change: changes.StockMoved) -> Outcome:
        event = prepared.event
        if self._policy.stock_owner is not None and event.connection_id != self._policy.stock_owner:
            return Outcome("ignored", "not_owner", "another connection owns stock.on_hand")
        variant_id = self._catalogue.variant((event.connection_id, change.item_external_id, change.sku))
        location_id = self._catalogue.location(event.connection_id, change.location_external_id)
        bill = self._catalogue.bill(variant_id)
        cause = f"move:{event.connection_id}:{change.external_id}"
        left = change.quantity_delta
        for line, units, released in self._ship(change, event.event_id) if change.kind == "ship" else ():
            left += units
            for item_id, per_unit in bill:
                here = line.location_id == location_id
                self.result.postings.append(
                    Posting(
                        item_id, location_id, "ship", f"{cause}:{item_id}:{line.line_id}",
                        on_hand_delta=-units * per_unit, committed_delta=-released * per_unit if here else 0,
                        event_id=event.event_id, order_line_id=line.line_id,
                    )
                )  # fmt: skip
                if not here and released:
                    self.result.postings.append(
                        Posting(
                            item_id, line.location_id, "release", f"{cause}:{item_id}:{line.line_id}:release",
                            committed_delta=-released * per_unit, event_id=event.event_id, order_line_id=line.line_id,
                        )
                    )  # fmt: skip
        if left:
            for item_id, per_unit in bill:
                self.result.postings.append(
                    Posting(
                        item_id, location_id, change.kind, f"{cause}:{item_id}",
                        on_hand_delta=left * per_unit, event_id=event.event_id,
                    )
                )  # fmt: skip
        return Outcome("applied", change.kind, None, "inventory_item", bill[0][0] if bill else None)

    def _ship(self, change: changes.StockMoved, event_id: UUID) -> list[tuple[Line, int, int]]:
        """Count a movement out of the house on the order it ships: (line, units shipped, units no longer committed).

        Empty when it ships no order of ours.
        """
        order_id = parse_reference(change.order_reference, "ord")
        order = self._state.orders.get(order_id) if order_id else None
        if order is None:
            return []
        self._settle(order, event_id)
        line_id = parse_reference(change.line_reference, "lin")
        shipped = []
        for line, units in ship_units(order, line_id=line_id, sku=change.sku, units=-change.quantity_delta):
            released = line.committed_before - order.committed_units(line)
            line.committed_before -= released
            shipped.append((line, units, released))
        if shipped:
            order.version += 1
            self.result.changed_orders.setdefault(order.order_id, event_id)
        return shipped

    def _goods_expected(self, prepared: Prepared, change: changes.GoodsExpected) -> Outcome:
        """Note what is on its way. No counter moves, so no number changes: it is part of nothing that can be sold."""
        connection_id = prepared.event.connection_id
        bill = self._catalogue.bill(self._catalogue.variant((connection_id, change.item_external_id, change.sku)))
        location_id = self._catalogue.location(connection_id, change.location_external_id)
        self.result.expected[connection_id, change.external_id[:_EXPECTED_NAME_MAX]] = [
            Expected(item_id, location_id, min(max(0, change.units) * per_unit, _UNITS_MAX), change.expected_on)
            for item_id, per_unit in bill
        ]
        code = "expected" if change.units > 0 else "expected_no_more"
        return Outcome("applied", code, None, "inventory_item", bill[0][0] if bill else None)

    # --- shipments ---------------------------------------------------------------------------------------------
    def _shipment_seen(self, prepared: Prepared, change: changes.ShipmentSeen) -> Outcome:
        event = prepared.event
        if self._policy.shipment_owner is not None and event.connection_id != self._policy.shipment_owner:
            return Outcome("ignored", "not_owner", "another connection owns shipment")
        order_id = parse_reference(change.order_reference, "ord")
        if order_id is None:
            return Outcome("ignored", "not_ours", "the shipment carries no reference of ours")
        order = self._state.orders.get(order_id)
        if order is None:
            return self._park(prepared, "order_unknown", "its order is not known yet", PARENT_WAIT)
        known = self._state.fulfillment_of.get((event.connection_id, change.external_id))
        if known is not None:
            return Outcome("superseded", "shipment_known", None, "fulfillment", known)
        units = match_shipment_lines(order, change.lines, lambda text: parse_reference(text, "lin"))
        if not units:
            return Outcome("quarantined", "no_line_matches", "no line of the shipment is a line of its order")
        for line in order.lines.values():
            line.announced += units.get(line.line_id, 0)
        fulfillment = NewFulfillment(new_id(), order_id, event.connection_id, change, units)
        self.result.fulfillments.append(fulfillment)
        self._state.fulfillment_of[event.connection_id, change.external_id] = fulfillment.fulfillment_id
        if order.psp:
            self.result.changed_orders.setdefault(order.order_id, event.event_id)
        plan = plan_fulfillment(order, fulfillment.fulfillment_id, self._policy, event.event_id)
        if plan.command is not None:
            self.result.commands.append(plan.command)
        return Outcome("applied", plan.code, plan.reason, "fulfillment", fulfillment.fulfillment_id)


def fresh_version() -> int:
    """Return a version that nobody else has, for what has none of its own."""
    return new_id().int & _VERSION_MASK
