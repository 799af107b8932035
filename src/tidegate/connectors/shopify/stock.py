"""Stock numbers: `available` of an inventory item at a location, set only where the shop shows what we expect.

A number that is refused as stale is never sent again. What the shop shows instead is read, units that are gone count as
sold, and the number less those units is set where the shop still shows that; the engine is told of them. Where units came
back, or the shop sells faster than it is asked, the refusal goes back with what was seen, and a new number is made of it.

A request without an answer is repeated at once under its own key: the shop says what became of it, and does it where it did
not. A look could not tell our number from what the shop's own sales left. So does whoever takes over from a process that is
gone: the requests of a call have keys one behind another, each used once, and what the shop kept as failed had no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

from tidegate.commerce.commands import Payload, SetInventory
from tidegate.connectors.shopify import queries
from tidegate.connectors.shopify.errors import STOCK_STALE, UserError, error_of_code
from tidegate.connectors.shopify.graphql import Raw, call, gid, number_of
from tidegate.kernel.errors import ConflictError, OutcomeUnknownError, TidegateError
from tidegate.sdk.connector import SIBLING_REFUSED, Done, Failed, FindOutcome, ItemOutcome, NotFound
from tidegate.sdk.http import Api

ITEMS_MAX = 250
"""Items of one call. Source: the API's limit of input arrays."""
ROUNDS = 4
"""Tries of one call at numbers of which some are refused as stale: a shop that sells moves on between two of them."""
KEY_FAILED = "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED"
"""Nothing was done under this key, and nothing will be. Source: the API's error codes."""
KEY_TAKEN = "IDEMPOTENCY_KEY_PARAMETER_MISMATCH"
"""Another request was made under this key. Source: the API's error codes."""
KEY_RUNNING = "IDEMPOTENCY_CONCURRENT_REQUEST"
"""The request under this key is not over. Source: the API's error codes."""
REPEATS = 2
"""Requests of one call that are repeated because their answer did not come."""
KEYS_KEPT = timedelta(minutes=10)
"""Keys are remembered for longer: how long was not found, and retries after minutes are what they are for. Source: Shopify,
implementing idempotency."""
KEYS_MAX = ROUNDS + REPEATS
"""Keys of one call: what is repeated may have failed under its key, and then needs another one."""
CHARGE = 10 * (ROUNDS + 2 * REPEATS)
"""Points of the mutations of a call, at most."""
RESERVE_EACH = 3
"""Points of reading what the shop shows of one item."""


class _Answer(msgspec.Struct, rename="camel"):
    user_errors: list[UserError]


async def set_inventory(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Set many numbers in one call. It is all or nothing there: one refused item refuses its siblings."""
    commands = [_stock_of(payload) for payload in payloads]
    untold = [c for c in commands if c.expected is None]
    shown = await _levels(api, untold) if untold else {}
    return await _carry_out(api, commands, shown, _Tries(api, key), reads_left=len(commands) - len(untold))


async def ask_again(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome] | None:
    """Go through the keys of a call whose answers nobody knows, and do what was not done.

    None where that tells nothing: the call looked first what the shop shows, or set another number after a refusal.
    """
    commands = [_stock_of(payload) for payload in payloads]
    if any(command.expected is None for command in commands):
        return None
    try:
        return await _carry_out(api, commands, {}, _Tries(api, key, is_known=False), reads_left=len(commands))
    except _Unclear:
        return None


async def _carry_out(
    api: Api, commands: Sequence[SetInventory], shown: dict[str, int], tries: _Tries, *, reads_left: int
) -> Sequence[ItemOutcome]:
    """Set numbers, and those that are refused as stale anew, as long as what the shop shows instead may be read."""
    outcomes: list[ItemOutcome | None] = [_unusable(c, shown) for c in commands]
    plans = {index: _plan(commands[index], shown) for index, outcome in enumerate(outcomes) if outcome is None}
    for round_index in range(ROUNDS):
        if not plans:
            break
        found = await tries.set(list(plans.values()))
        stale = [index for index, one in zip(plans, found, strict=True) if _is_stale(one)]
        is_last = round_index + 1 == ROUNDS or not stale or len(stale) > reads_left
        now = await _levels(api, [commands[index] for index in stale]) if len(stale) <= reads_left else {}
        reads_left -= len(stale)
        tried, plans = plans, {}
        for (index, plan), one in zip(tried.items(), found, strict=True):
            again = plan if _is_sibling(one) else plan.less(now) if _is_stale(one) else None
            if again is not None and not is_last:
                plans[index] = again
            elif _is_stale(one):
                outcomes[index] = _with_shown(plan.command, now)
            else:
                outcomes[index] = plan.done() if isinstance(one, Done) else one
    return [outcome if outcome is not None else Done() for outcome in outcomes]


class _Unclear(Exception):
    """The keys of a call do not tell what became of it."""


class _Tries:
    """The tries of one call, each under a key of its own: another number is another request."""

    def __init__(self, api: Api, key: str, *, is_known: bool = True) -> None:
        """`is_known`: nobody used the keys before."""
        self._api, self._key, self._is_known = api, key, is_known
        self._made = 0
        self._repeats_left = REPEATS

    async def set(self, plans: Sequence[_Plan]) -> list[ItemOutcome]:
        """Make the next try. Raises OutcomeUnknownError when it was not answered, and neither were its repetitions."""
        while True:
            self._made += 1
            errors, is_repeated = await self._ask(plans, self._key if self._made == 1 else f"{self._key}-{self._made}")
            codes = {error.code for error in errors}
            if not self._is_known and (KEY_TAKEN in codes or (KEY_FAILED in codes and self._made == KEYS_MAX)):
                raise _Unclear
            if not self._is_known and KEY_RUNNING in codes:
                raise error_of_code(KEY_RUNNING)
            if KEY_FAILED not in codes or (self._is_known and not is_repeated):
                return [_outcome(error) for error in _per_item(errors, len(plans))]

    async def _ask(self, plans: Sequence[_Plan], key: str) -> tuple[list[UserError], bool]:
        """Return what the shop objects to, and whether it was asked more than once."""
        values = {
            "name": "available",
            "reason": "correction",
            "referenceDocumentUri": f"gid://tidegate/Call/{self._key}",
            "quantities": [plan.item() for plan in plans],
        }
        variables = {"input": values, "key": key}
        lost: OutcomeUnknownError | None = None
        while True:
            try:
                answer: _Answer = await call(
                    self._api, queries.SET_QUANTITIES, variables, "inventorySetQuantities", _Answer
                )
            except OutcomeUnknownError as error:
                if not self._repeats_left:
                    raise
                lost = error
            except TidegateError as error:
                if lost is None:
                    raise
                raise lost from error  # it says nothing of the request before
            else:
                return answer.user_errors, lost is not None
            self._repeats_left -= 1


async def find_inventory(api: Api, payload: Payload) -> FindOutcome:
    """Look whether the shop shows the number that was sent; where it does not, tell what it shows."""
    (found,) = await find_inventories(api, [payload])
    return found


async def find_inventories(api: Api, payloads: Sequence[Payload]) -> Sequence[FindOutcome]:
    """Look at all numbers of a call at once."""
    commands = [_stock_of(payload) for payload in payloads]
    levels = await _levels(api, commands)
    shown = [levels.get(command.counted_external_id) for command in commands]
    return [
        Done() if there == command.quantity else NotFound(shown=there)
        for command, there in zip(commands, shown, strict=True)
    ]


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One number of a call as it is tried next."""

    command: SetInventory
    quantity: int
    expected: int

    def item(self) -> Raw:
        """Return the item of the call."""
        return {
            "inventoryItemId": gid("InventoryItem", self.command.counted_external_id),
            "locationId": gid("Location", self.command.location_external_id),
            "quantity": self.quantity,
            "changeFromQuantity": self.expected,
        }

    def less(self, now: dict[str, int]) -> _Plan | None:
        """Return the number less the units that are gone there; None where none are, or nobody knows."""
        shown, first = now.get(self.command.counted_external_id), self.command.expected
        if shown is None or first is None or shown >= first:
            return None
        return _Plan(command=self.command, quantity=max(0, self.command.quantity - (first - shown)), expected=shown)

    def done(self) -> Done:
        """Return the outcome when it was set."""
        is_as_expected = self.command.expected in (None, self.expected)
        return Done(shown=None if is_as_expected else self.expected)


def _unusable(command: SetInventory, shown: dict[str, int]) -> ItemOutcome | None:
    """Return why a number cannot be sent, None when it can."""
    if not command.counted_external_id:
        return Failed(error=error_of_code("INVALID_INVENTORY_ITEM"))
    if command.expected is None and command.counted_external_id not in shown:
        return Failed(error=error_of_code("ITEM_NOT_STOCKED_AT_LOCATION"))
    return None


def _plan(command: SetInventory, shown: dict[str, int]) -> _Plan:
    """Return the first try. What we never told is set only where it still is what was read right before."""
    expected = command.expected if command.expected is not None else shown[command.counted_external_id]
    return _Plan(command=command, quantity=command.quantity, expected=expected)


def _per_item(errors: Sequence[UserError], count: int) -> list[UserError | str | None]:
    """Return for each item its own error, `''` where only others have one, None where there is none at all.

    An error that names no item is everybody's.
    """
    if not errors:
        return [None] * count
    found: list[UserError | str | None] = [""] * count
    for error in errors:
        index = _index_of(error.field, count)
        for place in range(count) if index is None else (index,):
            if not isinstance(found[place], UserError):
                found[place] = error
    return found


def _index_of(field: list[str] | None, count: int) -> int | None:
    """Return the place of the item that a user error speaks of: `["input", "quantities", "3", "quantity"]`."""
    for part in field or ():
        if part.isascii() and part.isdigit() and int(part) < count:
            return int(part)
    return None


def _outcome(error: UserError | str | None) -> ItemOutcome:
    if error is None:
        return Done()
    if isinstance(error, str):
        refusal: TidegateError = ConflictError("another item of the call was refused", code=SIBLING_REFUSED)
    elif error.code == KEY_FAILED:
        refusal = ConflictError("nothing was set under this key", code="idempotency_failed")
    else:
        refusal = error_of_code(error.code or "", message=error.message)
    return Failed(error=refusal)


def _is_stale(outcome: ItemOutcome) -> bool:
    return isinstance(outcome, Failed) and outcome.error.code == STOCK_STALE


def _is_sibling(outcome: ItemOutcome) -> bool:
    return isinstance(outcome, Failed) and outcome.error.code == SIBLING_REFUSED


def _with_shown(command: SetInventory, now: dict[str, int]) -> ItemOutcome:
    context: dict[str, Any] = {"expected": command.expected}
    if command.counted_external_id in now:
        context["shown"] = now[command.counted_external_id]
    words = f"the shop shows {context.get('shown', 'another number')} instead of {command.expected}"
    return Failed(error=ConflictError(words, code=STOCK_STALE, context=context))


async def _levels(api: Api, commands: Sequence[SetInventory]) -> dict[str, int]:
    """Return what the shop shows as available by inventory item; items that are not stocked there are missing."""
    found: dict[str, int] = {}
    for location in sorted({command.location_external_id for command in commands}):
        items = [
            c.counted_external_id for c in commands if c.location_external_id == location and c.counted_external_id
        ]
        variables = {"items": [gid("InventoryItem", one) for one in items], "location": gid("Location", location)}
        if not items:
            continue
        nodes: list[Raw | None] = await call(
            api, queries.LEVELS, variables, "nodes", list[Raw | None], changes_state=False
        )
        for node in nodes:
            level = (node or {}).get("inventoryLevel")
            if node and level and level["quantities"]:
                found[number_of(node["id"])] = int(level["quantities"][0]["quantity"])
    return found


def _stock_of(payload: Payload) -> SetInventory:
    if not isinstance(payload, SetInventory):
        raise TypeError(f"SetInventory expected, not {type(payload).__name__}")
    return payload
