"""Setting stock: one batch per kind of path, each item set or refused by itself.

The shop takes any number, the last writer wins, and an order over REST may sell what is not there. What is written is
therefore compared with the article as the shop shows it in the same answer, after its own hooks ran.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tidegate.commerce.commands import Payload, SetInventory
from tidegate.connectors.woocommerce.errors import error_of_item
from tidegate.connectors.woocommerce.wire import id_of, read_or_none, write
from tidegate.kernel.errors import ConflictError, OutcomeUnknownError, RejectedError, TidegateError
from tidegate.sdk.connector import (
    NOT_COUNTED,
    SIBLING_REFUSED,
    STOCK_DIFFERS,
    Done,
    Failed,
    FindOutcome,
    ItemOutcome,
    NotFound,
)
from tidegate.sdk.http import Api

BATCH_MAX = 100
"""Items of a batch call, creations, updates and deletions together (413 above)."""
REQUESTS_MAX = 20
"""Requests of one call: one for all simple articles, one for each product with variations. Each may take a slow shop seconds,
and a call that takes minutes ends in doubt as a whole."""
STOCK_MAX = 2**31 - 1


class _Article(msgspec.Struct):
    """What matters of an article in an answer."""

    id: int
    manage_stock: bool | str | None = None
    stock_quantity: int | float | None = None
    error: Any = None


class _Batch(msgspec.Struct):
    update: list[_Article]


Place = tuple[int, int]
"""(product, variation or 0)"""


async def set_inventory(api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
    """Set the numbers of many articles: one call for all simple ones, one for the variations of each product.

    A request that fails ends the call: what was set before is set, what it was about shares its failure, and the rest goes
    with the next call, as does what would need more than `REQUESTS_MAX` requests.
    """
    outcomes: list[ItemOutcome] = [NOT_ASKED] * len(payloads)
    calls: dict[int, list[tuple[int, int, int]]] = {}
    for index, payload in enumerate(payloads):
        command = _command(payload)
        try:
            product, variation = place_of(command.variant_external_id)
        except RejectedError as error:
            outcomes[index] = Failed(error=error)
            continue
        calls.setdefault(product if variation else 0, []).append((index, variation or product, command.quantity))
    is_over = False
    for number, (parent, items) in enumerate(calls.items()):
        told: Sequence[ItemOutcome] = [NEXT_CALL] * len(items)
        if number < REQUESTS_MAX and not is_over:
            try:
                told = await _set_batch(api, parent, items)
            except TidegateError as error:
                if not number:
                    raise
                told, is_over = [Failed(error=error)] * len(items), True
        for (index, _, _), outcome in zip(items, told, strict=True):
            outcomes[index] = outcome
    return outcomes


async def _set_batch(api: Api, parent: int, items: Sequence[tuple[int, int, int]]) -> list[ItemOutcome]:
    """Set the numbers of simple articles (`parent` 0) or of the variations of a product: (place, article, number) of each."""
    path = f"/products/{parent}/variations/batch" if parent else "/products/batch"
    update = [{"id": article, "stock_quantity": quantity} for _, article, quantity in items]
    answer = await write(api, "POST", path, {"update": update}, _Batch)
    if [one.id for one in answer.update] != [article for _, article, _ in items]:
        raise OutcomeUnknownError("the answer names other articles than the call", code="item_missing")
    return [_judge(shown, quantity) for (_, _, quantity), shown in zip(items, answer.update, strict=True)]


async def find_inventory(api: Api, payload: Payload) -> FindOutcome:
    """Look whether the shop shows the number that was sent."""
    command = _command(payload)
    product, variation = place_of(command.variant_external_id)
    path = f"/products/{product}/variations/{variation}" if variation else f"/products/{product}"
    shown = await read_or_none(api, path, _Article, {"_fields": "id,manage_stock,stock_quantity"})
    if shown is None or shown.manage_stock is not True or shown.stock_quantity is None:
        return NotFound()
    return Done() if shown.stock_quantity == command.quantity else NotFound(shown=int(shown.stock_quantity))


def place_of(external_id: str) -> Place:
    """Return product and variation of an article's id. Raises RejectedError for anything that is none."""
    product, _, variation = external_id.partition("-")
    return id_of(product), id_of(variation) if variation else 0


NEXT_CALL = Failed(error=ConflictError("it goes with the next call", code=SIBLING_REFUSED))
NOT_ASKED = Failed(error=OutcomeUnknownError("the shop was not asked", code="item_missing"))
_NOT_COUNTED = (
    "turn on 'Track stock quantity' for it in the shop; a variation must count by itself, not with its product"
)


def _judge(shown: _Article, quantity: int) -> ItemOutcome:
    if shown.error is not None:
        return Failed(error=error_of_item(shown.error))
    if shown.manage_stock is not True:
        return Failed(error=RejectedError("the shop does not count this article", code=NOT_COUNTED, hint=_NOT_COUNTED))
    if shown.stock_quantity != quantity:
        there = None if shown.stock_quantity is None else math.ceil(shown.stock_quantity)
        context: Mapping[str, object] = {"shown": there, "sent": quantity}
        return Failed(
            error=ConflictError("the shop shows another number than was set", code=STOCK_DIFFERS, context=context)
        )
    return Done()


def _command(payload: Payload) -> SetInventory:
    if not isinstance(payload, SetInventory):
        raise TypeError(f"SetInventory expected, not {type(payload).__name__}")
    return payload
