"""Which platforms can be simulated, and how a connection reaches its simulation. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

REST_KEY = "sandbox-rest-key"
WOO_KEY = "ck_0123456789abcdef0123456789abcdef01234567"
WOO_SECRET = "cs_0123456789abcdef0123456789abcdef01234567"  # noqa: S105 - of a simulation, and no other


STRIPE_KEY = "sk_live_sandbox"
PAYMENT = "{payment}"
"""Stands for the id of a payment at its provider."""


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """The simulation of what one connector speaks to."""

    kind: str
    """What the sandbox calls it."""
    options: Mapping[str, Any] = {}
    """Its options in the world file."""
    passed: tuple[str, ...] = ()
    """Settings of the user's connection that the simulation takes over, by the same name."""
    named_by: str = ""
    """Its option that tells two of its kind apart, and so is different for each connection."""
    settings: Mapping[str, Any] = {}
    """Settings of the connection that differ from the user's, beside its address."""
    answers: Mapping[str, str] = {}
    """What `tidegate connect` is told."""
    subscribes: bool = False
    """It is told by hand where its events go: the address that `connect` shows."""
    repeats: bool = False
    """It cannot be polled, and repeats what was not answered: a webhook of it is late, never gone."""
    calls_per_order: int = 1
    """Requests without which there is no order; of an ERP."""
    stock_operations: tuple[str, ...] = ()
    """Parts of names of operations that write stock numbers."""
    paid_by: Mapping[str, str] = {}
    """What a purchase says beside its lines when a provider authorised its payment; `PAYMENT` is the payment's id there. Empty:
    this channel's purchases are paid at once, by nobody who plays."""
    assumed: Mapping[str, float] = {}
    """What its connector believes that it allows, where it publishes no limit: what it is told to keep for `strict_limits`."""
    sells_on: bool = False
    """It cannot refuse in time when an article is gone: it takes the option `sells_on_seconds`."""
    read_operations: tuple[str, ...] = ("GET", "search", "query", "read", "list")
    """Beginnings of names of operations that only read."""


_SIGNED: Mapping[str, Any] = {
    "answers": {
        "verify_key": "whsec_c2FuZGJveC1zZW5kcy13aXRoLXRoaXMh",
        "signing_key": "whsec_c2FuZGJveC1pcy1zZW50LXdpdGgtdGhpcyE=",
    },
    "subscribes": True,
    "repeats": True,
    "stock_operations": ("inventory.set",),
    "settings": {"locations": "main", "signs_with": "hmac"},
    "assumed": {"per_second": 10, "burst": 20},
}
SIMULATED: Mapping[str, Simulated] = {
    "tryton": Simulated(
        kind="erp",
        options={"rest_key": REST_KEY},
        passed=("database", "web_shop", "customer"),
        settings={"company": "1", "shipping_sku": "SHIPPING", "discount_sku": "DISCOUNT"},
        answers={"rest_key": REST_KEY},
        calls_per_order=3,
        assumed={"at_once": 8},
    ),
    "shopify": Simulated(
        kind="shopify",
        named_by="shop",
        answers={"client_secret": "shpss_sandbox_0123456789abcdef0123456789", "access_token": "shpat_sandbox"},
        stock_operations=("inventorySetQuantities",),
        paid_by={"payment": "authorized", "gateway": "stripe", "psp_reference": PAYMENT},
        read_operations=("order", "product", "shop", "location", "node", "webhookSubscriptions", "current", "public"),
    ),
    "woocommerce": Simulated(
        kind="woocommerce",
        options={"consumer_key": WOO_KEY, "consumer_secret": WOO_SECRET},
        assumed={"at_once": 4},
        answers={"consumer_key": WOO_KEY, "consumer_secret": WOO_SECRET},
        stock_operations=("POST products/batch", "variations/batch", "PUT products"),
        sells_on=True,
    ),
    "stripe": Simulated(kind="stripe", options={"api_key": STRIPE_KEY}, answers={"api_key": STRIPE_KEY}),
    "standard_webhooks": Simulated(kind="till", **_SIGNED),
}
"""Connector -> its simulation as a channel, or as what else it can be."""
AS_ERP: Mapping[str, Simulated] = {"standard_webhooks": Simulated(kind="threepl", **_SIGNED)}
"""Connector -> its simulation as the system that orders go to, where that is another one."""


def simulation_of(connector: str, *, is_channel: bool) -> Simulated:
    """Return the simulation of a connection."""
    return SIMULATED[connector] if is_channel else AS_ERP.get(connector, SIMULATED[connector])


def world_options(connection: str, simulated: Simulated, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a platform in the world file, for one connection of the user's."""
    named = {simulated.named_by: connection.replace("_", "-")} if simulated.named_by else {}
    return {**simulated.options, **named, **{name: entry[name] for name in simulated.passed if name in entry}}


def extra_of(simulated: Simulated, payment: str) -> dict[str, str]:
    """Return what a purchase that `payment` pays says beside its lines."""
    return {name: payment if value == PAYMENT else value for name, value in simulated.paid_by.items()}
