"""Shopify: a channel, through its Admin GraphQL API. Orders come by webhooks and by polls, stock and fulfillments go out.

Numbers are set only where the shop shows what we expect, so that none of them hides a sale that is not known here yet.
"""

from __future__ import annotations

from datetime import timedelta

from tidegate.commerce.commands import CommandKind
from tidegate.connectors.shopify import (
    articles,
    bulk,
    cancel,
    checks,
    client,
    fulfillment,
    grants,
    graphql,
    limits,
    mapper,
    redirect,
    refund,
    shown,
    stock,
    subscriptions,
    webhooks,
    whole_order,
)
from tidegate.sdk.budgets import CostBucket
from tidegate.sdk.connector import Articles, CommandSpec, Connector, Feed, Field, Shown, ShownField, Target
from tidegate.sdk.oauth import OAuth

CONNECTOR = Connector(
    name="shopify",
    title="Shopify",
    version="1.0.0",
    mapping_version=1,
    roles=frozenset({"channel"}),
    fields=(
        Field(name="store", question="The shop's address (NAME.myshopify.com)", secret=False, default=""),
        Field(name="client_secret", question="Client secret of the app (Shopify signs webhooks with it)", secret=True),
        Field(
            name="access_token",
            question="Admin API access token (empty: get one with client id and secret)",
            secret=True,
            default="",
        ),
        Field(
            name="refresh_token",
            question="Refresh token of an app whose tokens expire (empty: none)",
            secret=True,
            default="",
        ),
        Field(name="client_id", question="Client id of the app (empty with an access token)", secret=False, default=""),
        Field(
            name="scopes",
            question="Scopes that an authorisation asks for (empty: the ones that are needed)",
            secret=False,
            default="",
        ),
        Field(
            name="transactions",
            question="Read how each order is paid (yes or no; flows.payments needs it)",
            secret=False,
            default="no",
        ),
        Field(
            name="notify_customer",
            question="Have the shop mail customers of shipments (yes or no)",
            secret=False,
            default="no",
        ),
    ),
    open_session=client.open_session,
    oauth=OAuth(
        token_path=client.TOKEN_PATH,
        previous_survives=True,
        authorize_path=client.AUTHORIZE_PATH,
        scopes=grants.NEEDED,
        scope_separator=",",
        pkce=False,
        code_extra={"expiring": "1"},
        check_redirect=redirect.check_redirect,
    ),
    inspect=client.inspect,
    articles=Articles(read=articles.read_articles, charge=articles.CHARGE),
    normalize=mapper.normalize,
    api_version=graphql.API_VERSION,
    base_url="https://{store}",
    hosts=("*.myshopify.com",),
    webhook=webhooks.WEBHOOK,
    subscribe=subscriptions.subscribe,
    checks=checks.CHECKS,
    feeds={
        "orders": Feed(read=client.read_orders, interval=timedelta(seconds=30), charge=102),
        "subscriptions": Feed(
            read=subscriptions.read_subscriptions, interval=timedelta(minutes=5), charge=202, mends=True
        ),
        "counts": Feed(read=client.count_orders, interval=timedelta(minutes=15), charge=12, counts=timedelta(hours=1)),
    },
    fetch={
        "order": whole_order.fetch_order,
        "variant": articles.fetch_variant,
        "product": articles.fetch_product,
        "window": client.fetch_window,
    },
    fetch_charge={
        "order": 365,
        "variant": articles.FETCH_CHARGE,
        "product": articles.FETCH_CHARGE,
        "window": client.LISTED_MAX + 2,
    },
    shown=Shown(
        read=shown.read_shown,
        fields=frozenset({ShownField.STOCK, ShownField.PRICE, ShownField.PRICE_WITH_TAX}),
        articles_max=bulk.LINES_PER_PART,
        charge=shown.CHARGE,
    ),
    commands={
        CommandKind.FULFILLMENT_CREATE: CommandSpec(
            execute=fulfillment.create_fulfillment,
            find=fulfillment.find_fulfillment,
            readback_settle=timedelta(seconds=20),
            charge=530,
        ),
        CommandKind.INVENTORY_SET: CommandSpec(
            execute=stock.set_inventory,
            find=stock.find_inventory,
            find_many=stock.find_inventories,
            ask_again=stock.ask_again,
            keys_kept=stock.KEYS_KEPT,
            all_or_nothing=True,
            bulk_max=stock.ITEMS_MAX,
            safe_to_resend=True,
            readback_settle=timedelta(seconds=10),
            repeats=stock.REPEATS,
            charge=stock.CHARGE,
            reserve_each=stock.RESERVE_EACH,
        ),
        CommandKind.ORDER_CANCEL: CommandSpec(
            execute=cancel.cancel_order,
            find=cancel.find_cancelled,
            safe_to_resend=True,
            readback_settle=timedelta(seconds=20),
            charge=12,
        ),
        CommandKind.REFUND_CREATE: CommandSpec(
            execute=refund.create_refund,
            find=refund.find_refund,
            safe_to_resend=True,
            readback_settle=timedelta(seconds=20),
            charge=11,
        ),
    },
    targets={
        CommandKind.FULFILLMENT_CREATE: (
            Target(path="carrier", title="the tracking company, as Shopify lists it"),
            Target(path="tracking", title="the tracking number"),
        )
    },
    budget=CostBucket(
        capacity=1000,
        per_second=100,
        source="Shopify, GraphQL Admin API rate limits: 100 points a second on the smallest plan; each answer tells the rest",
    ),
    read_budget=limits.read_budget,
    concurrency_max=4,
    request_deadline=timedelta(seconds=30),
    cancels_own_orders=True,
    cancel_pays_back=True,
    enforces_stock=True,
    conditional_set=True,
    stock_number="available",
    deducts_own_orders=True,
)
