"""What the API checks of a request before anything happens, as its own description has it. Items of a batch are not checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tidegate.sandbox.woocommerce.answers import Refusal, invalid

ORDER_STATUSES = ("pending", "processing", "on-hold", "completed", "cancelled", "refunded", "failed", "checkout-draft")
_LISTED = ("any", "trash", "auto-draft", *ORDER_STATUSES)
HOOK_STATUSES = ("active", "paused", "disabled")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?")
_NUMBER = re.compile(r"\d{1,9}")

Query = Mapping[str, str]
Body = dict[str, Any]


def check_list(query: Query, orderby: tuple[str, ...], statuses: tuple[str, ...] = ()) -> None:
    """Check the query of a list. Raises Refusal."""
    problems: dict[str, tuple[str, str]] = {}
    for name, least, most in (("page", 1, 10**9), ("per_page", 1, 100), ("offset", 0, 10**9)):
        text = query.get(name)
        if text is None:
            continue
        if _NUMBER.fullmatch(text) is None:
            problems[name] = ("rest_invalid_type", f"{name} is not of type integer.")
        elif not least <= int(text) <= most:
            between = f"{name} must be between {least} (inclusive) and {most} (inclusive)"
            problems[name] = ("rest_out_of_bounds", between)
    for name, allowed in (("orderby", orderby), ("order", ("asc", "desc"))):
        if (text := query.get(name)) is not None and text not in allowed:
            problems[name] = ("rest_not_in_enum", f"{name} is not one of {', '.join(allowed)}.")
    for name in ("modified_after", "modified_before", "after", "before"):
        if (text := query.get(name)) is not None and _MOMENT.fullmatch(text) is None:
            problems[name] = ("rest_invalid_date", "Invalid date.")
    wanted = query["status"].split(",") if statuses and "status" in query else []
    if foreign := [one for one in wanted if one not in statuses]:
        problems["status"] = ("rest_not_in_enum", f"status[0] is not one of {', '.join(statuses)}: {foreign[0]}")
    if problems:
        raise invalid(problems)


def check_orders_list(query: Query) -> None:
    """Check the query of a list of orders. Raises Refusal."""
    check_list(query, ("date", "id", "include", "title", "slug", "modified"), _LISTED)


def check_order(body: Body) -> None:
    """Check a change of one order. Raises Refusal."""
    problems: dict[str, tuple[str, str]] = {}
    if "status" in body and body["status"] not in ORDER_STATUSES:
        problems["status"] = ("rest_not_in_enum", f"status is not one of {', '.join(ORDER_STATUSES)}.")
    for name in ("meta_data", "line_items"):
        if name in body and not isinstance(body[name], list):
            problems[name] = ("rest_invalid_type", f"{name} is not of type array.")
    for name in ("set_paid",):
        if name in body and not isinstance(body[name], bool):
            problems[name] = ("rest_invalid_type", f"{name} is not of type boolean.")
    if problems:
        raise invalid(problems)


def check_article(body: Body) -> None:
    """Check a change of one article. Raises Refusal."""
    quantity = body.get("stock_quantity")
    if "stock_quantity" in body and (isinstance(quantity, bool) or not isinstance(quantity, int)):
        raise invalid({"stock_quantity": ("rest_invalid_type", "stock_quantity is not of type integer.")})


def check_refund(body: Body) -> None:
    """Check a refund. Raises Refusal."""
    problems: dict[str, tuple[str, str]] = {}
    for name, kind in (("amount", str), ("reason", str), ("api_refund", bool), ("api_restock", bool)):
        if name in body and not isinstance(body[name], kind):
            word = "string" if kind is str else "boolean"
            problems[name] = ("rest_invalid_type", f"{name} is not of type {word}.")
    if problems:
        raise invalid(problems)


def check_hook(body: Body, *, is_new: bool) -> None:
    """Check a webhook. Raises Refusal."""
    missing = [name for name in ("topic", "delivery_url") if is_new and not body.get(name)]
    if missing:
        raise Refusal(
            400,
            "rest_missing_callback_param",
            f"Missing parameter(s): {', '.join(missing)}",
            params=missing,
        )
    if "status" in body and body["status"] not in HOOK_STATUSES:
        allowed = ", ".join(HOOK_STATUSES)
        raise invalid({"status": ("rest_not_in_enum", f"status is not one of {allowed}.")})
    topic = body.get("topic", "order.created")
    resource, _, event = str(topic).partition(".")
    events = ("created", "updated", "deleted", "restored", "published")
    if not (resource == "action" and event) and not (
        resource in ("order", "product", "customer", "coupon") and event in events
    ):
        raise Refusal(
            400, "woocommerce_rest_shop_webhook_invalid_topic", "Webhook topic is required and must be valid."
        )
    url = str(body.get("delivery_url", "http://x"))
    if not url.startswith(("http://", "https://")):
        raise Refusal(
            400,
            "woocommerce_rest_shop_webhook_invalid_delivery_url",
            "Webhook delivery URL must be a valid URL starting with http:// or https://.",
        )
