"""The mutations: which safeguard is taken out, which law it keeps, and which test must fail without it."""

from __future__ import annotations

from typing import NamedTuple

_LEDGER = "src/tidegate/inventory/ledger.py"
_ALLOCATE = "src/tidegate/inventory/allocate.py"
_DECIDE = "src/tidegate/inventory/decide.py"
_RESERVE = "src/tidegate/inventory/reserve.py"
_DISPATCH = "src/tidegate/dispatch/statements.py"
_LEDGER_LAWS = "tests/property/test_ledger.py"
_RESERVATION_LAWS = "tests/property/test_reservation_laws.py"
_ALLOCATION_LAWS = "tests/property/test_allocation_laws.py::test_the_walks_find_nothing_when_nothing_is_taken_out"
_GUARDS = "tests/integration/test_stock_guards.py"
_BUFFER = "src/tidegate/inventory/buffer.py"
_BUFFER_LAWS = "tests/unit/inventory/test_buffer.py"
_KITS = "src/tidegate/inventory/kits.py"
_KIT_LAWS = "tests/property/test_kit_laws.py"
_MARKS = "src/tidegate/sync/statements.py"
_FOLD = "src/tidegate/sync/fold.py"
_TOMBSTONES = "tests/integration/test_tombstones.py::"
_DECIDE_TESTS = "tests/unit/dispatch/test_decide.py"
_BURIED_LOT = (
    _TOMBSTONES + "test_units_of_a_deleted_article_are_free_once_its_orders_are_read_and_a_new_one_has_none_of_them"
)
_DELETED = _TOMBSTONES + "test_a_deleted_article_is_told_nothing_and_its_late_orders_are_taken"


class Mutation(NamedTuple):
    """One text that is put in the place of another, which stands exactly once in its file."""

    name: str
    law: str
    """Of RELIABILITY and ARCHITECTURE: I5 convergence, I7 one writer, I8 ledger, I9 ledger = stock, I10 reservations, I11 no
    oversell, I12 bounded oversell, push: the number that is told is the newest one; kits: of a kit as many are sold as its parts
    make; gone: what stands for deleted articles; owner: who may change what; I1r: what no webhook told is found."""
    path: str
    old: str
    new: str
    test: str
    is_quick: bool = False
    """It is caught without a database, within seconds."""


MUTATIONS = (
    Mutation(
        "older versions are applied", "I5", "src/tidegate/sync/gate.py",
        "if seen.version < stored.version or (", "if (",
        "tests/property/test_gate.py", is_quick=True,
    ),
    Mutation(
        "what was applied is not remembered", "I5", "src/tidegate/sync/gate.py",
        "    if verdict is Verdict.APPLY:\n        return seen\n", "    if verdict is Verdict.APPLY:\n        return stored or seen\n",
        "tests/property/test_gate.py", is_quick=True,
    ),
    Mutation(
        "inside one version the sequence does not count", "I5", "src/tidegate/sync/gate.py",
        "return Verdict.APPLY if seen.sequence > stored.sequence else Verdict.OLDER", "return Verdict.OLDER",
        "tests/property/test_gate.py", is_quick=True,
    ),
    Mutation(
        "a fact may post twice: no unique cause", "I8", "src/tidegate/store/migrations/0001_initial.sql",
        "    UNIQUE (tenant_id, cause_key)\n", "    CHECK (cause_key <> '')\n",
        _GUARDS,
    ),
    Mutation(
        "entries may be rewritten", "I8", "src/tidegate/store/grants.sql",
        "GRANT SELECT, INSERT ON stock_entry TO tidegate_apply;", "GRANT SELECT, INSERT, UPDATE, DELETE ON stock_entry TO tidegate_apply;",
        "tests/integration/test_store_roles.py",
    ),
    Mutation(
        "entries of a level have the same number", "I8", _LEDGER,
        "version=level.version + 1,", "version=level.version or 1,",
        _LEDGER_LAWS, is_quick=True,
    ),
    Mutation(
        "more is released than is there", "I8", _LEDGER,
        "committed = max(0, level.committed + posting.committed_delta)", "committed = level.committed + posting.committed_delta",
        _LEDGER_LAWS, is_quick=True,
    ),
    Mutation(
        "an entry says what was wanted, not what moved", "I9", _LEDGER,
        "committed_delta=committed - level.committed,", "committed_delta=posting.committed_delta,",
        _LEDGER_LAWS, is_quick=True,
    ),
    Mutation(
        "the counter is not moved", "I9", _LEDGER,
        "level.on_hand, level.unavailable = entry.on_hand_after, unavailable", "level.unavailable = unavailable",
        _LEDGER_LAWS, is_quick=True,
    ),
    Mutation(
        "units are promised that are not there", "I10", _RESERVE,
        "if shelf is None or shelf.left(location_id) < units:", "if shelf is None:",
        _RESERVATION_LAWS, is_quick=True,
    ),
    Mutation(
        "the lines of a cart are checked one by one", "I10", _RESERVE,
        "demand[item_id] = demand.get(item_id, 0) + per_unit * quantity", "demand[item_id] = per_unit * quantity",
        _RESERVATION_LAWS, is_quick=True,
    ),
    Mutation(
        "what is over is released again", "I10", _DECIDE,
        "        if standing.is_live:\n            is_claim", "        if standing.holds or True:\n            is_claim",
        _RESERVATION_LAWS, is_quick=True,
    ),
    Mutation(
        "what is due stays held", "I10", _DECIDE,
        "if standing.is_live and standing.due_at <= now:", "if standing.due_at <= now and not standing.is_live:",
        _RESERVATION_LAWS, is_quick=True,
    ),
    Mutation(
        "the database takes any promise", "I10", "src/tidegate/store/migrations/0027_reservations.sql",
        "ADD CONSTRAINT stock_entry_promise_check CHECK (kind <> 'reserve'",
        "ADD CONSTRAINT stock_entry_promise_check CHECK (kind = kind OR kind <> 'reserve'",
        _GUARDS,
    ),
    Mutation(
        "raise before the withdrawal is confirmed", "I11", _ALLOCATE,
        "return None if self.settled is None else max(self.settled, self.asked or 0)",
        "return None if self.settled is None else self.settled if self.asked is None else self.asked",
        _ALLOCATION_LAWS, is_quick=True,
    ),
    Mutation(
        "a number in doubt counts at its best", "I11", _ALLOCATE,
        "settled=max(lot.worst or 0, shows or 0), cap=None)", "settled=min(lot.settled, lot.asked or 0), cap=None)",
        _ALLOCATION_LAWS, is_quick=True,
    ),
    Mutation(
        "no zero fence: what a blind channel sold before is not waited for", "I11", _ALLOCATE,
        "return msgspec.structs.replace(done, cap=asked)", "return msgspec.structs.replace(done, settled=asked, cap=None)",
        _ALLOCATION_LAWS, is_quick=True,
    ),
    Mutation(
        "a number that may come late is forgotten", "I11", _ALLOCATE,
        'if fate == "unsure" or is_late:', 'if fate == "unsure":',
        _ALLOCATION_LAWS, is_quick=True,
    ),
    Mutation(
        "raises do not come out of the pool", "I11", _ALLOCATE,
        "left = max(0, pool or 0)\n    poor", "left = sum(aims.values())\n    poor",
        _ALLOCATION_LAWS, is_quick=True,
    ),
    Mutation(
        "channels are told of what others sell before they hear of it", "I12", _BUFFER,
        "whole = left - elsewhere - _others(blind, channel)", "whole = left - elsewhere",
        _BUFFER_LAWS, is_quick=True,
    ),
    Mutation(
        "each channel may sell the whole of what may be sold too often", "I12", _BUFFER,
        "parts = {channel: units * demand // total for channel, demand in demands.items()}",
        "parts = dict.fromkeys(demands, units)",
        _BUFFER_LAWS, is_quick=True,
    ),
    Mutation(
        "a channel sells by what it is to be told, not by what it shows", "I12", _BUFFER,
        "min(blind, max(told, shows)) if shows is not None else blind", "min(blind, told)",
        _BUFFER_LAWS, is_quick=True,
    ),
    Mutation(
        "units that are kept back are told all the same", "I12", _BUFFER,
        "told = dict.fromkeys(blind, max(0, left - kept))", "told = dict.fromkeys(blind, left)",
        _BUFFER_LAWS, is_quick=True,
    ),
    Mutation(
        "a channel that sells below zero bounds itself", "I12", _BUFFER,
        "risks=risks | below_zero", "risks=below_zero | risks",
        _BUFFER_LAWS, is_quick=True,
    ),
    Mutation(
        "a kit lasts as long as its most plentiful part", "kits", _KITS,
        "fewest = min(part.kits for part in found)", "fewest = max(part.kits for part in found)",
        _KIT_LAWS, is_quick=True,
    ),
    Mutation(
        "units of a part that are withheld go into kits", "kits", _KITS,
        "(self.available - self.withheld) // self.units", "self.available // self.units",
        _KIT_LAWS, is_quick=True,
    ),
    Mutation(
        "parts that are shared out are sold in kits too", "kits", _KITS,
        "return min(fewest, 0) if any(part.is_shared for part in found) else fewest", "return fewest",
        _KIT_LAWS, is_quick=True,
    ),
    Mutation(
        "two lanes give out the same units: only one's marks are locked", "I11", _DISPATCH,
        "  AND (connection_id = $2 OR item_id = ANY((SELECT items FROM everywhere)::uuid[]))\n", "  AND connection_id = $2\n",
        f"{_GUARDS}::test_who_gives_units_out_holds_the_marks_of_every_channel",
    ),
    Mutation(
        "a number that was set, and is not what is shown, counts as refused", "I11", "src/tidegate/dispatch/decide.py",
        "    if error.code == STOCK_DIFFERS:\n", "    if not error.code:\n",
        _DECIDE_TESTS, is_quick=True,
    ),
    Mutation(
        "a call that ended half way has set nothing", "I11", "src/tidegate/dispatch/decide.py",
        "    if about.earlier_writes and not about.tells_apart and not about.all_or_nothing:\n", "    if about.earlier_writes and about.tells_apart:\n",
        _DECIDE_TESTS, is_quick=True,
    ),
    Mutation(
        "an order that cannot be read was never placed", "I11", "src/tidegate/dispatch/conditions.py",
        "k.ordering_key LIKE 'order:%'", "false",
        _GUARDS + "::test_nothing_is_drained_while_what_was_read_waits_whatever_the_clock_of_its_reader",
    ),
    Mutation(
        "a key under which another number was set tells of this one", "I11", "src/tidegate/connectors/shopify/stock.py",
        "KEY_TAKEN in codes or (", "(", "tests/unit/connectors/test_shopify_stock.py", is_quick=True,
    ),
    Mutation(
        "a bound is forgotten before what it bounds is sold", "I11", _ALLOCATE,
        "and settled <= cap:", "and settled:", "tests/property/test_allocation_laws.py::test_what_bounds_a_lot_no_more_is_not_waited_for",
        is_quick=True,
    ),
    Mutation(
        "units of a deleted article are given away before its orders are read", "I11", "src/tidegate/dispatch/allocation.py",
        "return msgspec.structs.replace(lot, cap=None if lot.settled == 0 else 0)",
        "return msgspec.structs.replace(lot, settled=0, cap=None)",
        _BURIED_LOT,
    ),
    Mutation(
        "what takes a deleted article's place shows what that one showed", "I11", "src/tidegate/sync/listing_statements.py",
        "SET settled = NULL, asked =", "SET settled = settled, asked =",
        _BURIED_LOT,
    ),
    Mutation(
        "a reader whose clock is ahead hides what it read", "I11", "src/tidegate/dispatch/conditions.py",
        "(e.source IN ('poll', 'fetch') OR left(", "(e.source IN ('import') OR left(",
        f"{_GUARDS}::test_nothing_is_drained_while_what_was_read_waits_whatever_the_clock_of_its_reader",
    ),
    Mutation(
        "polls begin right at the newest change", "I1r", "src/tidegate/sdk/rounds.py",
        "            return newest - self.overlap\n", "            return newest\n",
        "tests/property/test_shopify_cursor.py", is_quick=True,
    ),
    Mutation(
        "a change of a time to come moves the polls", "I1r", "src/tidegate/sdk/rounds.py",
        "if now is None or moment < now + _GRAIN)", "if now is None or moment < moment + _GRAIN)",
        "tests/property/test_feed_cursors.py", is_quick=True,
    ),
    Mutation(
        "an event of a day to come moves the poll", "I1r", "src/tidegate/connectors/stripe/client.py",
        "if (made := _created(event)) <= now)", "if (made := _created(event)) <= now * 9)",
        "tests/property/test_stripe_events_cursor.py", is_quick=True,
    ),
    Mutation(
        "a deleted article stands for nothing", "gone", _MARKS,
        "  SELECT variant_id FROM tombstone t WHERE t.tenant_id = $1 AND t.connection_id = want.connection_id\n",
        "  SELECT variant_id FROM tombstone t WHERE false AND t.tenant_id = $1 AND t.connection_id = want.connection_id\n",
        _DELETED,
    ),
    Mutation(
        "a broken list buries what it leaves out", "gone", "src/tidegate/dispatch/articles.py",
        "    if missing > missing_max:\n", "    if missing > missing_max + 1_000:\n",
        _TOMBSTONES + "test_a_list_that_lacks_too_much_buries_nothing",
    ),
    Mutation(
        "on_hand is changed where another system counts", "owner", "src/tidegate/sync/adjust.py",
        "    if owner in (None, SELF):\n", "    if owner != SELF:\n",
        "tests/integration/test_api_ledger.py::test_where_an_erp_counts_units_are_set_aside_and_nothing_else",
    ),
    Mutation(
        "what is on its way is ordered by its article", "I5", "src/tidegate/connectors/standard_webhooks/webhooks.py",
        'if keys.type == "stock.incoming":', 'if keys.type == "stock.incoming" and not keys.data.sku:',
        "tests/unit/connectors/test_standard_webhooks_events.py", is_quick=True,
    ),
    Mutation(
        "a count that is short is believed", "I1r", _FOLD,
        "        if change.count <= ours:\n", "        if change.count <= max(ours, 3):\n",
        "tests/integration/test_order_counts.py::test_orders_that_nothing_told_of_are_found_by_the_count",
    ),
    Mutation(
        "a node that lost its slot goes on", "I7", "src/tidegate/store/fence.py",
        "if len(rows) != len(slots):", "if len(rows) > len(slots):",
        "tests/integration/test_nodes.py::test_an_older_epoch_is_fenced_even_for_the_same_node",
    ),
    Mutation(
        "the number is read before its mark is locked", "push", _DISPATCH,
        "  OFFSET 0 FOR NO KEY UPDATE) m\nWHERE m.dirty AND m.sendable AND m.blocked_by IS NULL",
        "  OFFSET 0) m\nWHERE m.dirty AND m.sendable AND m.blocked_by IS NULL",
        "tests/integration/test_dispatch_stock.py::test_number_is_the_committed_truth_at_its_read_point",
    ),
    Mutation(
        "a change of stock marks nothing", "push", "src/tidegate/sync/load.py",
        "if state.items and policy.stock_channels and not state.is_marked:", "if not policy.stock_channels and not state.is_marked:",
        _GUARDS,
    ),
    Mutation(
        "the answer of an older number counts", "push", _DISPATCH,
        "m.item_id = n.item_id AND m.blocked_by = n.command_id\nRETURNING m.item_id, l.gone", "m.item_id = n.item_id\nRETURNING m.item_id, l.gone",
        _GUARDS,
    ),
    Mutation(
        "the answer of an older attempt counts", "push", _DISPATCH,
        "AND c.command_id = n.command_id AND c.attempt_id = $2\n", "AND c.command_id = n.command_id AND $2::uuid IS NOT NULL\n",
        _GUARDS,
    ),
    Mutation(
        "our own echo, and a channel's own sale, are news", "push", "src/tidegate/sync/statements.py",
        "AND m.moved IS NOT NULL\n  AND m.mode <> 'observe'", "AND m.moved IS NOT NULL\n  AND m.mode = 'observe'",
        "tests/integration/test_conditional_stock.py::test_a_channel_that_lowered_its_number_by_itself_is_not_told_again",
    ),
    Mutation(
        "what crosses zero waits for company", "push", "src/tidegate/commerce/significance.py",
        "return Quiet(NUMBER_MIN, 0)", "return Quiet(NUMBER_MIN, rule.low)",
        "tests/property/test_significance.py", is_quick=True,
    ),
)  # fmt: skip
"""In the order of the laws."""
