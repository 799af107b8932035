"""SQL of the lanes. Set-based; $1 is the tenant, $2 the connection; locks are taken in the one order.

slot -> marks (channel_stock) -> orders -> stock -> commands, each sorted by key. Statements of T2s and T3 run after
`store.fence.fence` in the same transaction.

What looks up many keys says so in a way that no statistics can undo (a catalogue that has just arrived is in none): a read
is LATERAL with OFFSET 0, and an update takes the whole key, tenant included, from the rows that it is given. With the tenant
as a parameter the planner may take "all of this connection" for one row, and read all of them for each call.
"""

from __future__ import annotations

from functools import reduce

from tidegate.dispatch import conditions

COMMAND_CHANNEL = "tidegate_command"
"""NOTIFY channel that wakes the lanes. The payload may name connections, comma separated; '' means all."""

# --- waking up -------------------------------------------------------------------------------------------------------
CONNECTIONS = """
SELECT c.tenant_id, c.connection_id, c.name, c.connector, c.external_account, c.settings,
       (SELECT coalesce(sum(s.record_version), 0)::int FROM credential s
        WHERE s.tenant_id = c.tenant_id AND s.connection_id = c.connection_id AND s.key_class = 'credential'
          AND s.active) AS credentials
FROM connection c
WHERE c.state = 'active' ORDER BY c.tenant_id, c.connection_id
"""

# The one query of an idle node: which lanes have something to do, and may anything be written. OFFSET 0: one look for each
# lane, and never a list of all that waits anywhere.
POLL = """
SELECT (SELECT is_on FROM switch WHERE name = 'stop_all_writes') AS is_stopped,
       array(SELECT w.connection_id FROM unnest($1::uuid[], $2::uuid[]) AS w(tenant_id, connection_id)
             WHERE EXISTS (SELECT FROM command c
                           WHERE c.tenant_id = w.tenant_id AND c.connection_id = w.connection_id
                             AND c.state IN ('pending', 'in_doubt')
                             AND (c.not_before IS NULL OR c.not_before <= statement_timestamp()) OFFSET 0)
                OR EXISTS (SELECT FROM channel_stock m
                           WHERE m.tenant_id = w.tenant_id AND m.connection_id = w.connection_id AND m.dirty
                             AND m.sendable AND m.blocked_by IS NULL
                             AND (m.not_before IS NULL OR m.not_before <= statement_timestamp()) OFFSET 0)
                OR EXISTS (SELECT FROM fetch_request f
                           WHERE f.tenant_id = w.tenant_id AND f.connection_id = w.connection_id
                             AND f.not_before <= statement_timestamp() OFFSET 0)
                OR EXISTS (SELECT FROM sync_read s
                           WHERE s.tenant_id = w.tenant_id AND s.connection_id = w.connection_id
                             AND s.state IN ('waiting', 'reading', 'comparing', 'healing') AND NOT s.held
                             AND s.not_before <= statement_timestamp() OFFSET 0)) AS waiting,
       array(SELECT w.connection_id FROM unnest($1::uuid[], $2::uuid[]) AS w(tenant_id, connection_id)
             WHERE EXISTS (SELECT FROM sync_schedule p
                           WHERE p.tenant_id = w.tenant_id AND p.connection_id = w.connection_id
                             AND p.due_at <= statement_timestamp()
                             AND (p.paused_at IS NULL OR p.paused_until <= statement_timestamp()) OFFSET 0)) AS looks
"""

# --- the window ------------------------------------------------------------------------------------------------------
# Items of fulfillments that may have reached the channel, and items whose number may have. $3: the channel takes what it
# fulfils off its own number; otherwise a fulfillment touches no number.
TOUCHED_ITEMS = """
SELECT array(SELECT DISTINCT vi.item_id
             FROM command c
             JOIN fulfillment f ON f.tenant_id = $1 AND f.fulfillment_id = c.entity_id
             JOIN fulfillment_line fl ON fl.tenant_id = $1 AND fl.fulfillment_id = f.fulfillment_id
             JOIN order_line ol ON ol.tenant_id = $1 AND ol.order_id = f.order_id AND ol.line_id = fl.line_id
             JOIN variant_item vi ON vi.tenant_id = $1 AND vi.variant_id = ol.variant_id
             WHERE $3::boolean AND c.tenant_id = $1 AND c.connection_id = $2 AND c.state IN ('sending', 'in_doubt')
               AND c.kind = 'fulfillment.create') AS held,
       array(SELECT item_id FROM channel_stock
             WHERE tenant_id = $1 AND connection_id = $2 AND blocked_by IS NOT NULL) AS blocked
"""

# What a lane looks at first: which parts of its window hold anything that is due, what is touched, and how long it is until
# more is due. Parked rows are found by indexes of their own.
WAITING = """
SELECT t.held, t.blocked,
       EXISTS (SELECT FROM command c
               WHERE c.tenant_id = $1 AND c.connection_id = $2 AND c.state = 'pending'
                 AND (c.not_before IS NULL OR c.not_before <= statement_timestamp())) AS has_commands,
       EXISTS (SELECT FROM channel_stock m
               WHERE m.tenant_id = $1 AND m.connection_id = $2 AND m.dirty AND m.sendable AND m.blocked_by IS NULL
                 AND (m.not_before IS NULL OR m.not_before <= statement_timestamp())) AS has_marks,
       EXISTS (SELECT FROM command c
               WHERE c.tenant_id = $1 AND c.connection_id = $2 AND c.state = 'in_doubt'
                 AND c.not_before <= statement_timestamp()) AS has_doubtful,
       EXISTS (SELECT FROM fetch_request f
               WHERE f.tenant_id = $1 AND f.connection_id = $2 AND f.not_before <= statement_timestamp()) AS has_fetches,
       EXISTS (SELECT FROM sync_read s
               WHERE s.tenant_id = $1 AND s.connection_id = $2 AND s.state IN ('waiting', 'reading', 'comparing', 'healing')
                 AND NOT s.held AND s.not_before <= statement_timestamp()) AS has_reads,
       extract(epoch FROM least(
         (SELECT min(c.not_before) FROM command c
          WHERE c.tenant_id = $1 AND c.connection_id = $2 AND c.state IN ('pending', 'in_doubt')
            AND c.not_before > statement_timestamp()),
         (SELECT min(m.not_before) FROM channel_stock m
          WHERE m.tenant_id = $1 AND m.connection_id = $2 AND m.dirty AND m.sendable AND m.not_before > statement_timestamp()),
         (SELECT min(f.not_before) FROM fetch_request f
          WHERE f.tenant_id = $1 AND f.connection_id = $2 AND f.not_before > statement_timestamp()),
         (SELECT min(s.not_before) FROM sync_read s
          WHERE s.tenant_id = $1 AND s.connection_id = $2 AND s.state IN ('waiting', 'reading', 'comparing', 'healing')
            AND NOT s.held AND s.not_before > statement_timestamp())) - statement_timestamp())::float8 AS due_seconds
FROM (
"""
WAITING += TOUCHED_ITEMS + ") t"

# $4: items whose number is out. Fulfillments of these cannot go now, and must not fill the window of those that can. $5: as $3
# of TOUCHED_ITEMS; otherwise a fulfillment and a number have nothing to do with each other. What is tried again, unless for one
# of the codes $6, has a part of its own: while retries are scarce it must not fill the window of what goes for the first time.
# OFFSET 0: one probe of the index per candidate, also while the planner takes a table that has just filled for empty.
_HEADS = """
  SELECT c.command_id, c.kind, c.target_key, c.entity_id, c.version, c.priority, c.attempt_number, c.call_id,
         c.deadline_at, c.code, c.approved_at IS NOT NULL AS is_approved
  FROM command c
  WHERE c.tenant_id = $1 AND c.connection_id = $2 AND c.state = 'pending' AND $part
    AND (c.not_before IS NULL OR c.not_before <= statement_timestamp())
    AND NOT EXISTS (SELECT FROM command older
                    WHERE older.tenant_id = $1 AND older.connection_id = $2 AND older.target_key = c.target_key
                      AND older.state IN ('proposed', 'pending', 'sending', 'in_doubt') AND older.command_id < c.command_id
                    OFFSET 0)
    AND (c.kind <> 'fulfillment.create' OR NOT $5 OR cardinality($4::uuid[]) = 0 OR NOT EXISTS (
           SELECT FROM fulfillment f
           JOIN fulfillment_line fl ON fl.tenant_id = $1 AND fl.fulfillment_id = f.fulfillment_id
           JOIN order_line ol ON ol.tenant_id = $1 AND ol.order_id = f.order_id AND ol.line_id = fl.line_id
           JOIN variant_item vi ON vi.tenant_id = $1 AND vi.variant_id = ol.variant_id
           WHERE f.tenant_id = $1 AND f.fulfillment_id = c.entity_id AND vi.item_id = ANY($4::uuid[]) OFFSET 0))
  ORDER BY c.priority, c.command_id LIMIT $3
"""
WINDOW_COMMANDS = """
WITH heads AS MATERIALIZED (($first) UNION ALL ($again))
SELECT h.*, CASE WHEN h.kind = 'fulfillment.create' AND $5::boolean THEN
         array(SELECT DISTINCT vi.item_id
               FROM fulfillment f
               JOIN fulfillment_line fl ON fl.tenant_id = $1 AND fl.fulfillment_id = f.fulfillment_id
               JOIN order_line ol ON ol.tenant_id = $1 AND ol.order_id = f.order_id AND ol.line_id = fl.line_id
               JOIN variant_item vi ON vi.tenant_id = $1 AND vi.variant_id = ol.variant_id
               WHERE f.tenant_id = $1 AND f.fulfillment_id = h.entity_id ORDER BY vi.item_id)
       ELSE '{}'::uuid[] END AS items
FROM heads h ORDER BY h.priority, h.command_id
"""
_FIRST = _HEADS.replace("$part", "(c.attempt_number = 0 OR c.code = ANY($6::text[]))")
_AGAIN = _HEADS.replace("$part", "c.attempt_number > 0 AND coalesce(c.code, '') <> ALL($6::text[])")
WINDOW_COMMANDS = WINDOW_COMMANDS.replace("$first", _FIRST).replace("$again", _AGAIN)

WINDOW_MARKS = """
SELECT item_id, priority, dirty_at, tries, alone, unseen + unseen_back > 0 AS is_unexplained FROM channel_stock
WHERE tenant_id = $1 AND connection_id = $2 AND dirty AND sendable AND blocked_by IS NULL AND item_id <> ALL($4::uuid[])
  AND (not_before IS NULL OR not_before <= statement_timestamp())
ORDER BY priority, dirty_at LIMIT $3
"""

WINDOW_DOUBTFUL = """
SELECT command_id, kind, target_key, entity_id, version, priority, attempt_number, call_id, attempt_id, quantity,
       negatives, not_before AS due_at, deadline_at,
       greatest(0, extract(epoch FROM settles_at - statement_timestamp()))::float8 AS settles_in_seconds
FROM command
WHERE tenant_id = $1 AND connection_id = $2 AND state = 'in_doubt' AND not_before <= statement_timestamp()
ORDER BY priority, not_before LIMIT $3
"""

WINDOW_FETCHES = """
SELECT topic, external_id, requested_by, not_before AS due_at, tries, hints FROM fetch_request
WHERE tenant_id = $1 AND connection_id = $2 AND not_before <= statement_timestamp()
ORDER BY not_before LIMIT $3
"""

# --- the lane's own state --------------------------------------------------------------------------------------------
ENSURE_LANE = """
INSERT INTO lane_state (tenant_id, connection_id, tokens, tokens_at) VALUES ($1, $2, 0, clock_timestamp())
ON CONFLICT (tenant_id, connection_id) DO NOTHING
"""
LOAD_LANE = """
SELECT budget::text AS budget, budget_number, extract(epoch FROM clock_timestamp() - tokens_at)::float8 AS age_seconds,
       greatest(0, extract(epoch FROM snoozed_until - clock_timestamp()))::float8 AS snoozed_seconds,
       breaker_opened_at IS NOT NULL AS is_down
FROM lane_state WHERE tenant_id = $1 AND connection_id = $2
"""
LOAD_SAFETY = "SELECT safety_rules FROM lane_state WHERE tenant_id = $1 AND connection_id = $2"
STORE_SAFETY = "UPDATE lane_state SET safety_rules = $3 WHERE tenant_id = $1 AND connection_id = $2"
# The items that the channel was told a number of, or is about to be, and whose rules count for it: those after $3, at most $4.
TOLD_ITEMS = """
SELECT m.item_id, i.sku || array(SELECT p.sku FROM kit_part k JOIN inventory_item p ON p.tenant_id = $1 AND p.item_id = k.part_id
                                 WHERE k.tenant_id = $1 AND k.item_id = m.item_id) AS skus
FROM channel_stock m JOIN inventory_item i ON i.tenant_id = $1 AND i.item_id = m.item_id
WHERE m.tenant_id = $1 AND m.connection_id = $2 AND m.push_version > 0 AND m.item_id > $3
ORDER BY m.item_id LIMIT $4
"""
MARK_ITEMS = """
WITH chosen AS MATERIALIZED (
  SELECT tenant_id, connection_id, item_id FROM channel_stock
  WHERE tenant_id = $1 AND connection_id = $2 AND item_id = ANY($3::uuid[]) AND mode <> 'observe'
  ORDER BY item_id FOR NO KEY UPDATE
)
UPDATE channel_stock m SET dirty = true, dirty_at = coalesce(m.dirty_at, clock_timestamp()),
                           not_before = CASE WHEN m.tries > 0 THEN m.not_before END
FROM chosen c WHERE m.tenant_id = c.tenant_id AND m.connection_id = c.connection_id AND m.item_id = c.item_id
"""


# $3 the meter, $4 its number, $5 what is left. A state that began before another one's and comes after it changes nothing:
# the other one holds it.
_CHARGE = """
UPDATE lane_state SET budget = $budget::jsonb, budget_number = $number, tokens = $left, tokens_at = clock_timestamp()
WHERE tenant_id = $1 AND connection_id = $2 AND budget_number < $number
"""


def _charge(first: int) -> str:
    """Return the update that stores a budget, its number and what is left, as parameters from `first` on."""
    names = ("$budget", "$number", "$left")
    return reduce(lambda text, at: text.replace(names[at], f"${first + at}"), range(3), _CHARGE)


STORE_BUDGET = _charge(3)
SNOOZE_LANE = """
UPDATE lane_state SET snooze_reason = $4,
       snoozed_until = greatest(snoozed_until, clock_timestamp() + make_interval(secs => $3::float8))
WHERE tenant_id = $1 AND connection_id = $2
"""
# $3 rule, $4 seconds or null, $5 not null: the breaker is open.
SAY_HOLD = """
UPDATE lane_state
SET hold_rule = $3, hold_since = clock_timestamp(), hold_until = clock_timestamp() + make_interval(secs => $4::float8),
    breaker_opened_at = CASE WHEN $5::text IS NOT NULL THEN coalesce(breaker_opened_at, clock_timestamp()) END
WHERE tenant_id = $1 AND connection_id = $2
"""
STOP_CONNECTION = """
UPDATE connection SET state = $3, state_reason = $4 WHERE tenant_id = $1 AND connection_id = $2 AND state = 'active'
"""

# --- taking a lane over ----------------------------------------------------------------------------------------------
# Whatever an earlier owner was sending is in doubt: it may have arrived. $3 seconds until a 'not found' is believed. That our
# process ended says nothing about the other side: only the first such attempt counts when the next pause is chosen.
TAKE_OVER = """
WITH left_behind AS (
  SELECT tenant_id, command_id FROM command
  WHERE tenant_id = $1 AND connection_id = $2 AND state = 'sending' ORDER BY command_id FOR NO KEY UPDATE
)
UPDATE command c
SET state = 'in_doubt', code = 'taken_over', reason = 'the process that was sending it is gone', negatives = 0,
    attempt_number = greatest(c.attempt_number - 1, 1),
    not_before = clock_timestamp() + make_interval(secs => least($4::float8, $3::float8)),
    settles_at = clock_timestamp() + make_interval(secs => $3::float8)
FROM left_behind l
WHERE c.tenant_id = l.tenant_id AND c.command_id = l.command_id AND c.state = 'sending'
RETURNING c.command_id
"""

# --- T2s -------------------------------------------------------------------------------------------------------------
# FOR SHARE: whoever turns the switch, or moves the flow to another mode, waits for the sends that are already decided, and
# no later one gets through. $3 flow; $4 slot, $5 its epoch, $6 node: the fence, which comes first and in the same round trip.
# No mode: nobody put the configuration to work for this connection yet.
MAY_WRITE = """
WITH held AS MATERIALIZED (
  SELECT slot FROM slot WHERE role = 'dispatch' AND slot = $4 AND epoch = $5 AND node_id = $6 FOR SHARE
)
SELECT fence.is_held, asked.may_write, asked.mode
FROM (SELECT count(*) > 0 AS is_held FROM held) fence
LEFT JOIN LATERAL (
  SELECT NOT s.is_on AND c.state = 'active' AS may_write,
         (SELECT f.mode FROM flow_mode f
          WHERE f.tenant_id = $1 AND f.connection_id = $2 AND f.flow = $3 FOR SHARE) AS mode
  FROM switch s, connection c
  WHERE fence.is_held AND s.name = 'stop_all_writes' AND c.tenant_id = $1 AND c.connection_id = $2
  OFFSET 0 FOR SHARE OF s) asked ON true
"""
FLOW_MODE = """
SELECT mode FROM flow_mode WHERE tenant_id = $1 AND connection_id = $2 AND flow = $3 FOR SHARE
"""

# What nobody approved waits for a person, when its flow proposes by now. $3 commands.
PROPOSE = """
UPDATE command SET state = 'proposed', not_before = NULL
WHERE tenant_id = $1 AND connection_id = $2 AND command_id = ANY($3::uuid[]) AND state = 'pending' AND approved_at IS NULL
RETURNING command_id
"""
# What a flow that observes by now would still send ends unsent. $3 commands, $4 code, $5 reason.
END_OBSERVED = """
UPDATE command
SET state = 'cancelled', code = $4, reason = $5, finished_at = clock_timestamp(), not_before = NULL, settles_at = NULL
WHERE tenant_id = $1 AND connection_id = $2 AND command_id = ANY($3::uuid[]) AND state = 'pending'
"""

LOCK_MARKS = """
SELECT item_id, blocked_by, mode FROM channel_stock
WHERE tenant_id = $1 AND connection_id = $2 AND item_id = ANY($3::uuid[])
ORDER BY item_id FOR NO KEY UPDATE
"""

# Commands go out under an attempt only if each is still the oldest open one of its target, and stands for the same call as
# before. $3 commands in payload order, $4 attempt, $5 call, $6 key, $7 data key, $8 sealed payload or null for a call that
# exists, $9 node, $10 charge, $11 configuration, $12 version of the mapping or null, $13 the call so far or null, of each;
# $14 to $16 what is left of the budget, as `STORE_BUDGET` takes it.
BEGIN_ACTIONS = """
WITH taken AS (
  UPDATE command c
  SET state = 'sending', attempt_number = c.attempt_number + 1, attempt_id = $4, call_id = $5, code = NULL,
      reason = NULL, not_before = NULL, settles_at = NULL, negatives = 0
  FROM unnest($3::uuid[], $13::uuid[]) AS n(command_id, call_id)
  WHERE c.tenant_id = $1 AND c.connection_id = $2 AND c.command_id = ANY($3::uuid[]) AND c.state = 'pending'
    AND c.command_id = n.command_id AND c.call_id IS NOT DISTINCT FROM n.call_id
    AND NOT EXISTS (SELECT FROM command older
                    WHERE older.tenant_id = $1 AND older.connection_id = $2 AND older.target_key = c.target_key
                      AND older.state IN ('proposed', 'pending', 'sending', 'in_doubt') AND older.command_id < c.command_id
                    OFFSET 0)
  RETURNING c.command_id, c.kind, c.attempt_number
), frozen AS (
  INSERT INTO call (tenant_id, call_id, connection_id, kind, idempotency_key, members, charge, data_key_id, payload,
                    config_version, map_digest)
  SELECT $1, $5, $2, min(kind), $6, $3::uuid[], $10::float8, $7, $8, $11::int, $12::bytea
  FROM taken HAVING $8::bytea IS NOT NULL AND count(*) > 0
), tried AS (
  INSERT INTO attempt (tenant_id, attempt_id, call_id, connection_id, purpose, attempt_number, node_id)
  SELECT $1, $4, $5, $2, 'send', max(attempt_number), $9 FROM taken HAVING count(*) > 0
), charged AS ($charged)
SELECT command_id, attempt_number FROM taken
""".replace("$charged", _charge(14))

LOAD_CALLS = """
SELECT call_id, idempotency_key, data_key_id, payload, members, key_spent_at IS NOT NULL AS is_key_spent
FROM call WHERE tenant_id = $1 AND call_id = ANY($2::uuid[])
"""

END_UNSENT = """
UPDATE command c SET state = $4, code = $5, reason = $6, finished_at = clock_timestamp()
WHERE c.tenant_id = $1 AND c.connection_id = $2 AND c.command_id = $3 AND c.state = 'pending'
  AND NOT EXISTS (SELECT FROM command older
                  WHERE older.tenant_id = $1 AND older.connection_id = $2 AND older.target_key = c.target_key
                    AND older.state IN ('proposed', 'pending', 'sending', 'in_doubt') AND older.command_id < c.command_id
                  OFFSET 0)
RETURNING true
"""

# A hook, or a rule of the map, wants a person to decide. The command keeps its place before later ones of its target.
HOLD_UNSENT = """
UPDATE command c SET state = 'proposed', code = $4, reason = $5, not_before = NULL
WHERE c.tenant_id = $1 AND c.connection_id = $2 AND c.command_id = $3 AND c.state = 'pending' AND c.approved_at IS NULL
RETURNING true
"""

# --- T2s of stock ----------------------------------------------------------------------------------------------------
LOCK_DIRTY = """
SELECT m.item_id, m.push_version, m.acked_quantity, m.tries, m.priority, m.told_available,
       m.unseen + m.unseen_back > 0 AS is_unexplained,
       coalesce(m.late_until > clock_timestamp(), false) AS may_come_late,
       coalesce(m.late_until <= clock_timestamp(), false) AS is_due_again
FROM (SELECT id FROM unnest($3::uuid[]) AS item(id) ORDER BY id) AS want
CROSS JOIN LATERAL (
  SELECT * FROM channel_stock m WHERE m.tenant_id = $1 AND m.connection_id = $2 AND m.item_id = want.id
  OFFSET 0 FOR NO KEY UPDATE) m
WHERE m.dirty AND m.sendable AND m.blocked_by IS NULL
"""
# By key, and what may be sent is looked at afterwards: while the statistics know of no mark that is dirty, the index of
# those that are looks cheaper, and each call would read all that wait.

# One statement, one snapshot, taken after the marks were locked: no change of these items is under way meanwhile.
# OFFSET 0: a plan that was kept from when there were no orders must not read all open lines for each item.
# $4: what the channel carries in open orders counts for its number; otherwise it is not looked at, a hot item has thousands.
# pace: units a second by which the last 20 entries of each level lowered what is available. Of a kit, `numbers` makes the
# counters from those of its parts.
NUMBERS = """
SELECT want.item_id, i.sku, sold.external_id, sold.required_qty, coalesce(counted.counted_external_id, '') AS counted_external_id,
       coalesce(s.on_hand, 0) AS on_hand, coalesce(s.unavailable, 0) AS unavailable,
       coalesce(s.committed, 0) AS committed, coalesce(s.reserved, 0) AS reserved,
       coalesce(s.safety_stock, 0) AS safety_stock, coalesce(s.entries, 0) AS entries, coalesce(u.unseen, 0) AS unseen,
       coalesce(s.pace, 0)::float8 AS pace, s.on_hand IS NOT NULL AS is_counted, kit.parts, kit.units,
       coalesce(o.unfulfilled, 0) AS unfulfilled, coalesce(o.shipped_unconfirmed, 0) AS shipped_unconfirmed
FROM unnest($3::uuid[]) AS want(item_id)
CROSS JOIN LATERAL (SELECT sku FROM inventory_item WHERE tenant_id = $1 AND item_id = want.item_id OFFSET 0) i
LEFT JOIN LATERAL (
  SELECT sum(l.on_hand) AS on_hand, sum(l.unavailable) AS unavailable, sum(l.committed) AS committed,
         sum(l.reserved) AS reserved, sum(l.safety_stock) AS safety_stock, sum(l.version) AS entries,
         sum(greatest(0, (old.available - l.available) / greatest(1.0, old.seconds))) AS pace
  FROM stock_balance l JOIN location p ON p.tenant_id = $1 AND p.location_id = l.location_id AND p.active
  LEFT JOIN LATERAL (
    SELECT e.on_hand_after - e.unavailable_after - e.committed_after - e.reserved_after AS available,
           extract(epoch FROM clock_timestamp() - e.at)::float8 AS seconds
    FROM stock_entry e
    WHERE e.tenant_id = $1 AND e.item_id = want.item_id AND e.location_id = l.location_id AND e.version = l.version - 20
    OFFSET 0) old ON true
  WHERE l.tenant_id = $1 AND l.item_id = want.item_id
) s ON true
LEFT JOIN LATERAL (
  SELECT sum((l.current - l.fulfilled) * vi.required_qty) AS unfulfilled,
         sum(greatest(least(l.shipped, l.current) - l.fulfilled, 0) * vi.required_qty) AS shipped_unconfirmed
  FROM variant_item vi
  CROSS JOIN LATERAL (
    SELECT order_id, current, shipped, fulfilled FROM order_line
    WHERE tenant_id = $1 AND variant_id = vi.variant_id AND fulfilled < current OFFSET 0) l
  CROSS JOIN LATERAL (
    SELECT FROM "order" WHERE tenant_id = $1 AND order_id = l.order_id AND connection_id = $2
     AND order_state NOT IN ('cancelled', 'draft') OFFSET 0) d
  WHERE $4 AND vi.tenant_id = $1 AND vi.item_id = want.item_id
) o ON true
LEFT JOIN LATERAL (
  SELECT b.external_id, vi.required_qty
  FROM variant_item vi
  CROSS JOIN LATERAL (
    SELECT external_id FROM binding
    WHERE tenant_id = $1 AND connection_id = $2 AND kind = 'variant' AND internal_id = vi.variant_id OFFSET 0) b
  WHERE vi.tenant_id = $1 AND vi.item_id = want.item_id
  ORDER BY vi.required_qty, b.external_id LIMIT 1
) sold ON true
LEFT JOIN LATERAL (
  SELECT counted_external_id FROM counted_article c
  WHERE c.tenant_id = $1 AND c.connection_id = $2 AND c.external_id = sold.external_id OFFSET 0
) counted ON true
LEFT JOIN LATERAL (
  SELECT sum(n.unseen) AS unseen FROM (
    SELECT m.unseen FROM channel_stock m WHERE m.tenant_id = $1 AND m.item_id = want.item_id AND m.unseen > 0
    UNION ALL
    SELECT m.unseen * k.units FROM kit_part k
    CROSS JOIN LATERAL (
      SELECT unseen FROM channel_stock m WHERE m.tenant_id = $1 AND m.item_id = k.item_id AND m.unseen > 0 OFFSET 0) m
    WHERE k.tenant_id = $1 AND k.part_id = want.item_id
  ) n
) u ON true
LEFT JOIN LATERAL (
  SELECT array_agg(part_id ORDER BY part_id) AS parts, array_agg(units ORDER BY part_id) AS units FROM kit_part
  WHERE tenant_id = $1 AND item_id = want.item_id
) kit ON true
ORDER BY want.item_id
"""

# Numbers that the channel shows already, and items that it does not sell: nothing to tell. One row per item: $3 item, $4 what
# is available of it, $5 and $6 up to which numbers of that the next change can wait.
CLEAR_MARKS = """
UPDATE channel_stock m
SET dirty = false, dirty_at = NULL, not_before = NULL, tries = 0, priority = 50, approved_by = NULL, approved_at = NULL,
    late_until = NULL, told_available = n.available, quiet_from = n.quiet_from, quiet_to = n.quiet_to
FROM (SELECT $1::uuid AS tenant_id, $2::uuid AS connection_id, *
      FROM unnest($3::uuid[], $4::int[], $5::int[], $6::int[]) AS n(item_id, available, quiet_from, quiet_to) OFFSET 0) n
WHERE m.tenant_id = n.tenant_id AND m.connection_id = n.connection_id AND m.item_id = n.item_id
"""

PARK_MARK = """
UPDATE channel_stock
SET tries = least(tries + 1, 1000), not_before = clock_timestamp() + make_interval(secs => $4::float8)
WHERE tenant_id = $1 AND connection_id = $2 AND item_id = $3
"""

# Items whose articles were deleted over there: nobody has to be told. Mark and lot go once nothing that was sold there can be untold
# any more. $3 items.
DROP_BURIED = """
WITH buried AS MATERIALIZED (
  SELECT m.item_id, m.blocked_by IS NULL AND m.unseen + m.unseen_back = 0
                    AND NOT EXISTS (SELECT FROM channel_allocation a
                                    WHERE a.tenant_id = $1 AND a.connection_id = $2 AND a.item_id = m.item_id
                                      AND (a.settled IS NULL OR a.settled > 0 OR a.asked IS NOT NULL)) AS is_over
  FROM channel_stock m
  WHERE m.tenant_id = $1 AND m.connection_id = $2 AND m.item_id = ANY($3::uuid[])
    AND EXISTS (SELECT FROM variant_item i JOIN tombstone t
                  ON t.tenant_id = $1 AND t.connection_id = $2 AND t.variant_id = i.variant_id
                WHERE i.tenant_id = $1 AND i.item_id = m.item_id)
), marks AS (
  DELETE FROM channel_stock m USING buried b
  WHERE m.tenant_id = $1 AND m.connection_id = $2 AND m.item_id = b.item_id AND b.is_over
), lots AS (
  DELETE FROM channel_allocation a USING buried b
  WHERE a.tenant_id = $1 AND a.connection_id = $2 AND a.item_id = b.item_id AND b.is_over
)
SELECT item_id FROM buried
"""

# A dead letter for an item that cannot be told; once, until somebody deals with it.
FAIL_UNBOUND = """
WITH fresh AS (
  SELECT m.tenant_id, m.connection_id, n.command_id, n.item_id, m.push_version + 1 AS version
  FROM unnest($3::uuid[], $4::uuid[]) AS n(command_id, item_id)
  CROSS JOIN LATERAL (
    SELECT tenant_id, connection_id, push_version FROM channel_stock
    WHERE tenant_id = $1 AND connection_id = $2 AND item_id = n.item_id OFFSET 0) m
  WHERE NOT EXISTS (SELECT FROM command c WHERE c.tenant_id = $1 AND c.connection_id = $2 AND c.entity_id = n.item_id
                                            AND c.state = 'failed' AND c.code = $5 OFFSET 0)
), keyed AS (
  INSERT INTO command_key (tenant_id, connection_id, kind, entity_id, version, command_id)
  SELECT $1, $2, 'inventory.set', item_id, version, command_id FROM fresh ORDER BY item_id
), counted AS (
  UPDATE channel_stock m SET push_version = f.version FROM fresh f
  WHERE m.tenant_id = f.tenant_id AND m.connection_id = f.connection_id AND m.item_id = f.item_id
)
INSERT INTO command (tenant_id, command_id, connection_id, kind, target_key, entity_id, version, priority, state, code,
                     reason, deadline_at, finished_at)
SELECT $1, command_id, $2, 'inventory.set', 'item:' || item_id, item_id, version, $7, 'failed', $5, $6,
       clock_timestamp(), clock_timestamp()
FROM fresh
"""

# $3 call, $4 attempt, $5 key, $6 data key, $7 sealed payload, $8 node, $9 charge, $11 deadline, then one
# row per item: command, item, version, quantity, ledger, attempt number. $18 configuration, $20 whether the channel's own sales
# are followed from here on. Per item too: $19 units per article, $10 why it was sent at once or null, $21 what is available,
# $22 and $23 up to which numbers of that the next change can wait, $24 whether it is told once more.
BEGIN_STOCK = """
WITH n AS MATERIALIZED (
  SELECT $1::uuid AS tenant_id, $2::uuid AS connection_id, *
  FROM unnest($12::uuid[], $13::uuid[], $14::bigint[], $15::int[], $16::jsonb[], $17::int[], $19::int[], $10::text[],
              $21::int[], $22::int[], $23::int[], $24::bool[])
    AS n(command_id, item_id, version, quantity, ledger, attempt_number, pack, because, available, quiet_from, quiet_to,
         may_come_late)
), frozen AS (
  INSERT INTO call (tenant_id, call_id, connection_id, kind, idempotency_key, members, charge, data_key_id, payload,
                    config_version)
  SELECT $1, $3, $2, 'inventory.set', $5, array(SELECT command_id FROM n), $9::float8, $6, $7, $18::int
), tried AS (
  INSERT INTO attempt (tenant_id, attempt_id, call_id, connection_id, purpose, attempt_number, node_id)
  VALUES ($1, $4, $3, $2, 'send', 1, $8)
), marked AS (
  UPDATE channel_stock m
  SET dirty = false, dirty_at = NULL, not_before = NULL, push_version = n.version, blocked_by = n.command_id,
      priority = 50, approved_by = NULL, approved_at = NULL, pack = n.pack, moved = CASE WHEN $20 THEN 0 END,
      told_available = n.available, quiet_from = n.quiet_from, quiet_to = n.quiet_to,
      late_until = CASE WHEN n.may_come_late THEN m.late_until END
  FROM n WHERE m.tenant_id = n.tenant_id AND m.connection_id = n.connection_id AND m.item_id = n.item_id
), keyed AS (
  INSERT INTO command_key (tenant_id, connection_id, kind, entity_id, version, command_id)
  SELECT $1, $2, 'inventory.set', item_id, version, command_id FROM n
), charged AS ($charged)
INSERT INTO command (tenant_id, command_id, connection_id, kind, target_key, entity_id, version, priority, state,
                     deadline_at, attempt_number, call_id, attempt_id, quantity, ledger, approved_by, approved_at)
SELECT $1, n.command_id, $2, 'inventory.set', 'item:' || n.item_id, n.item_id, n.version, m.priority, 'sending', $11,
       n.attempt_number, $3, $4, n.quantity,
       n.ledger || jsonb_build_object('marked_ms', (extract(epoch FROM coalesce(
         CASE WHEN m.tries = 0 THEN greatest(m.dirty_at, m.not_before) ELSE m.dirty_at END, clock_timestamp())) * 1000)::bigint)
                || CASE WHEN n.because IS NULL THEN '{}' ELSE jsonb_build_object('because', n.because) END,
       m.approved_by, m.approved_at
FROM n JOIN channel_stock m ON m.tenant_id = n.tenant_id AND m.connection_id = n.connection_id AND m.item_id = n.item_id
""".replace("$charged", _charge(25))

# --- verifying -------------------------------------------------------------------------------------------------------
# A read-back is an attempt too; only of commands that are still in doubt for the same sending. $3 commands of one call, $4
# their attempt, $5 this attempt, $6 node.
BEGIN_LOOK = """
WITH doubted AS (
  SELECT command_id, call_id, attempt_number FROM command
  WHERE tenant_id = $1 AND connection_id = $2 AND command_id = ANY($3::uuid[]) AND state = 'in_doubt' AND attempt_id = $4
    AND not_before <= clock_timestamp()
), tried AS (
  INSERT INTO attempt (tenant_id, attempt_id, call_id, connection_id, purpose, attempt_number, node_id)
  SELECT $1, $5, call_id, $2, 'verify', greatest(max(attempt_number), 1), $6 FROM doubted GROUP BY call_id
)
SELECT command_id FROM doubted
"""

# Whether the call's key is certainly remembered. $2 call, $3 seconds.
IS_KEY_KEPT = """
SELECT coalesce(min(started_at) > clock_timestamp() - make_interval(secs => $3::float8), false)
FROM attempt WHERE tenant_id = $1 AND call_id = $2
"""

# --- T3 --------------------------------------------------------------------------------------------------------------
HAS_ANSWER = "SELECT true FROM attempt_answer WHERE tenant_id = $1 AND attempt_id = $2 AND answer_id = $3"
ADD_ANSWER = """
INSERT INTO attempt_answer (tenant_id, attempt_id, answer_id, outcome, code, http_status, duration_ms, late,
                            data_key_id, answer)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""

ITEMS_OF = """
SELECT DISTINCT vi.item_id
FROM fulfillment f
JOIN fulfillment_line fl ON fl.tenant_id = $1 AND fl.fulfillment_id = f.fulfillment_id
JOIN order_line ol ON ol.tenant_id = $1 AND ol.order_id = f.order_id AND ol.line_id = fl.line_id
JOIN variant_item vi ON vi.tenant_id = $1 AND vi.variant_id = ol.variant_id
WHERE f.tenant_id = $1 AND f.fulfillment_id = ANY($2::uuid[])
"""
LOCK_ORDERS_OF_FULFILLMENTS = """
SELECT o.order_id FROM "order" o
WHERE o.tenant_id = $1
  AND o.order_id IN (SELECT f.order_id FROM fulfillment f WHERE f.tenant_id = $1 AND f.fulfillment_id = ANY($2::uuid[]))
ORDER BY o.order_id FOR NO KEY UPDATE
"""

# A T2s whose COMMIT was given up may still be on its way: it is waited for here, and what it left is seen afterwards.
# A statement of its own: the one behind it then sees what a T2s has committed for whose end this waited.
LOCK_COMMANDS = """
SELECT FROM command WHERE tenant_id = $1 AND command_id = ANY($2::uuid[]) ORDER BY command_id FOR NO KEY UPDATE
"""

# The compare-and-set: only for the attempt that the state stands for. $2 attempt, then one row per command. $11 seconds between
# the moments at which what is tried again becomes due, 0: at any moment.
# Members that wait equally long are due at one and the same moment.
SETTLE = """
UPDATE command c
SET state = n.state, code = n.code, reason = n.reason,
    not_before = CASE WHEN $11::float8 > 0 AND n.state = 'pending' AND n.due_seconds > 0
                      THEN date_bin(make_interval(secs => $11), statement_timestamp() + make_interval(secs => n.due_seconds),
                                    'epoch') + make_interval(secs => $11)
                      ELSE statement_timestamp() + make_interval(secs => n.due_seconds) END,
    settles_at = CASE WHEN n.state <> 'in_doubt' THEN NULL WHEN n.settle_seconds IS NULL THEN c.settles_at
                 ELSE clock_timestamp() + make_interval(secs => n.settle_seconds) END,
    negatives = c.negatives + n.negatives,
    attempt_number = greatest(c.attempt_number - n.uncounted, 0),
    finished_at = CASE WHEN n.state IN ('pending', 'in_doubt') THEN NULL ELSE clock_timestamp() END
FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::float8[], $8::float8[], $9::int[], $10::int[])
  AS n(command_id, state, code, reason, due_seconds, settle_seconds, negatives, uncounted)
WHERE c.tenant_id = $1 AND c.command_id = ANY($3::uuid[]) AND c.command_id = n.command_id AND c.attempt_id = $2
  AND c.state IN ('sending', 'in_doubt')
RETURNING c.command_id
"""

SPEND_KEY = """
UPDATE call SET key_spent_at = clock_timestamp() WHERE tenant_id = $1 AND call_id = $2 AND key_spent_at IS NULL
"""

# Retries that wait for more than $4 seconds are due within these. $3 kinds.
HURRY_RETRIES = """
UPDATE command SET not_before = clock_timestamp() + make_interval(secs => random() * $4::float8)
WHERE tenant_id = $1 AND connection_id = $2 AND kind = ANY($3::text[]) AND state IN ('pending', 'in_doubt')
  AND attempt_number > 0 AND not_before > clock_timestamp() + make_interval(secs => $4::float8)
"""

BIND = """
INSERT INTO binding (tenant_id, connection_id, kind, external_id, internal_id)
SELECT $1, $2, n.kind, n.external_id, n.internal_id FROM unnest($3::text[], $4::text[], $5::uuid[]) AS n(kind, external_id, internal_id)
ORDER BY n.kind, n.external_id
ON CONFLICT DO NOTHING
"""
BOUND_AS = """
SELECT n.internal_id
FROM unnest($3::text[], $4::text[], $5::uuid[]) AS n(kind, external_id, internal_id)
JOIN binding b ON b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = n.kind AND b.external_id = n.external_id
 AND b.internal_id = n.internal_id
"""

# A finished or given-up push sets its item free. Only the mark that this command blocks is touched. What a person approved
# and did not arrive is still approved.
#
# `shown` is what the channel was seen to show instead, in its own units. What it could show lies between what we expect now
# and what we expected when the number was sent: `moved` units were sold there meanwhile, and nobody knows whether before or
# after the look. A number that may have arrived (is_forgotten) could stand there too. Units that lack below all of that were
# sold and not told yet; units above it came back. An item with such units is looked at again after $13 seconds. What explains
# the look without our number is what T2 followed already.
#
# Where a number was set and fewer units than expected were there right before (`shown`), it was set less those. The ones of
# them that T2 does not know yet were sold and not told yet.
#
# A number that was given up may arrive for `late_seconds` more; then the channel is told once more. What did not arrive is no
# measure for the next change, and what was urgent is still urgent.
# One of which units were held back for a time is looked at again.
RELEASE_MARKS = """
UPDATE channel_stock m
SET blocked_by = NULL,
    acked_quantity = CASE
        WHEN n.is_acked THEN greatest(0, n.quantity - l.less) - greatest(0, coalesce(m.moved, 0) - l.less)
        WHEN l.seen IS NULL THEN CASE WHEN n.is_forgotten THEN NULL ELSE m.acked_quantity END
        WHEN l.seen BETWEEN l.low AND l.high AND (l.seen BETWEEN l.sent_low AND l.sent_high) IS NOT TRUE THEN m.acked_quantity
        ELSE l.seen END,
    unseen = m.unseen + l.gone,
    unseen_back = m.unseen_back + l.back,
    unseen_at = CASE WHEN l.gone + l.back > 0 THEN clock_timestamp() ELSE m.unseen_at END,
    acked_at = CASE WHEN n.is_acked THEN clock_timestamp() ELSE m.acked_at END,
    late_until = CASE WHEN n.late_seconds IS NULL THEN m.late_until
                      ELSE greatest(m.late_until, clock_timestamp() + make_interval(secs => n.late_seconds)) END,
    dirty = m.mode <> 'observe' AND (m.dirty OR n.is_dirty OR l.is_unexplained OR c.fades
                                    OR coalesce(n.late_seconds, 0) > 0 OR m.late_until IS NOT NULL),
    dirty_at = CASE WHEN (n.is_dirty OR l.is_unexplained OR c.fades OR n.late_seconds IS NOT NULL OR m.late_until IS NOT NULL)
                         AND m.mode <> 'observe'
                    THEN coalesce(m.dirty_at, clock_timestamp()) ELSE m.dirty_at END,
    not_before = CASE WHEN m.dirty OR n.is_dirty THEN clock_timestamp() + make_interval(secs => n.wait_seconds)
                      ELSE least(CASE WHEN l.is_unexplained THEN clock_timestamp() + make_interval(secs => $13) END,
                                 CASE WHEN c.fades THEN clock_timestamp() + make_interval(secs => c.fades_seconds) END,
                                 m.late_until) END,
    tries = CASE WHEN n.is_acked OR NOT n.is_dirty THEN 0 ELSE least(m.tries + n.counted, 1000) END,
    alone = n.is_apart OR (m.alone AND n.is_dirty),
    priority = CASE WHEN n.is_dirty THEN least(m.priority, c.priority) ELSE m.priority END,
    told_available = CASE WHEN n.is_acked THEN m.told_available END,
    quiet_from = CASE WHEN n.is_acked THEN m.quiet_from END,
    quiet_to = CASE WHEN n.is_acked THEN m.quiet_to END,
    approved_by = CASE WHEN n.is_dirty AND m.mode = 'propose' THEN coalesce(m.approved_by, c.approved_by)
                       ELSE m.approved_by END,
    approved_at = CASE WHEN n.is_dirty AND m.mode = 'propose' THEN coalesce(m.approved_at, c.approved_at)
                       ELSE m.approved_at END
FROM (
  SELECT $1::uuid AS tenant_id, $2::uuid AS connection_id, *
  FROM unnest($3::uuid[], $4::uuid[], $5::int[], $6::bool[], $7::bool[], $8::bool[], $9::float8[], $10::int[],
              $11::bool[], $12::int[], $14::float8[])
    AS n(command_id, item_id, quantity, is_acked, is_forgotten, is_dirty, wait_seconds, counted, is_apart, shown, late_seconds)
  OFFSET 0
) n
CROSS JOIN LATERAL (
  SELECT approved_by, approved_at, priority, n.is_acked AND coalesce(ledger ? 'buffer_fades', false) AS fades,
         (ledger ->> 'buffer_fades')::float8 AS fades_seconds
  FROM command WHERE tenant_id = n.tenant_id AND command_id = n.command_id OFFSET 0) c
CROSS JOIN LATERAL (
  SELECT acked_quantity, moved, pack, unseen, unseen_back FROM channel_stock
  WHERE tenant_id = n.tenant_id AND connection_id = n.connection_id AND item_id = n.item_id OFFSET 0) old
CROSS JOIN LATERAL (
  SELECT *, old.unseen + old.unseen_back + k.gone + k.back > 0 AS is_unexplained
  FROM (
    SELECT r.low, r.high, r.sent_low, r.sent_high, r.seen, r.less,
           CASE WHEN n.is_acked THEN greatest(0, r.less - coalesce(old.moved, 0))
                WHEN r.is_odd THEN greatest(0, greatest(r.low, r.sent_low) - r.seen) ELSE 0 END AS gone,
           CASE WHEN r.is_odd THEN greatest(0, r.seen - greatest(r.high, r.sent_high)) ELSE 0 END AS back
    FROM (
      SELECT *, CASE WHEN n.is_acked THEN greatest(0, coalesce(
               (floor((old.acked_quantity + old.moved)::numeric / old.pack)::int - n.shown) * old.pack, 0)) ELSE 0 END AS less,
             coalesce(NOT n.is_acked AND e.seen NOT BETWEEN e.low AND e.high
                         AND (e.sent_low IS NULL OR e.seen NOT BETWEEN e.sent_low AND e.sent_high), false) AS is_odd
      FROM (
        SELECT least(old.acked_quantity, old.acked_quantity + old.moved) AS low,
               greatest(old.acked_quantity, old.acked_quantity + old.moved) AS high,
               CASE WHEN n.is_forgotten THEN least(n.quantity, n.quantity - old.moved) END AS sent_low,
               CASE WHEN n.is_forgotten THEN greatest(n.quantity, n.quantity - old.moved) END AS sent_high,
               CASE WHEN old.moved IS NULL THEN NULL WHEN old.acked_quantity IS NULL THEN n.shown * old.pack
                    ELSE old.acked_quantity + (n.shown - floor(old.acked_quantity::numeric / old.pack)::int) * old.pack
                    END AS seen
      ) e
    ) r
  ) k
) l
WHERE m.tenant_id = n.tenant_id AND m.connection_id = n.connection_id AND m.item_id = n.item_id AND m.blocked_by = n.command_id
RETURNING m.item_id, l.gone
"""

# Of these items, others whose number follows from theirs: parts of a kit, and kits that have a part among them.
_KIN = """
array(WITH parts AS (
        SELECT part_id FROM kit_part WHERE tenant_id = $1 AND item_id = ANY({items}::uuid[])
      )
      SELECT part_id FROM parts
      UNION
      SELECT item_id FROM kit_part
      WHERE tenant_id = $1 AND (part_id = ANY({items}::uuid[]) OR part_id IN (SELECT part_id FROM parts)))
"""
# Marks of one channel, and of some items in every channel, in the order in which T2 locks marks. $3 items, $4 of these the
# ones that every channel may have to be told anew, together with their kin.
LOCK_MARKS_EVERYWHERE = f"""
WITH everywhere AS MATERIALIZED (SELECT $4::uuid[] || {_KIN.format(items="$4")} AS items)
SELECT FROM channel_stock
WHERE tenant_id = $1 AND item_id = ANY($3::uuid[] || (SELECT items FROM everywhere))
  AND (connection_id = $2 OR item_id = ANY((SELECT items FROM everywhere)::uuid[]))
ORDER BY connection_id, item_id FOR NO KEY UPDATE
"""  # noqa: S608 - a constant condition

# Units that count as sold are missing in every channel. The marks are locked; one that only waits for another look does not
# hold this back. $2 items.
MARK_EVERYWHERE = f"""
UPDATE channel_stock SET dirty = true, dirty_at = coalesce(dirty_at, clock_timestamp()),
                         not_before = CASE WHEN tries > 0 THEN not_before END
WHERE tenant_id = $1 AND item_id = ANY($2::uuid[] || {_KIN.format(items="$2")}) AND mode <> 'observe'
"""  # noqa: S608 - a constant condition

# Of these items, the ones whose unexplained units are explained: the channel's feeds were read to their end well after they
# were noticed, and all that they told is applied. What is left of the units then are no sales. $3 items, $4 seconds, $5 feeds
# that tell of nothing and only mend.
EXPLAINED = f"""
SELECT array_agg(m.item_id ORDER BY m.item_id) FROM channel_stock m
WHERE m.tenant_id = $1 AND m.connection_id = $2 AND m.item_id = ANY($3::uuid[]) AND m.unseen + m.unseen_back > 0
  AND m.unseen_at < clock_timestamp() - make_interval(secs => $4::float8)
  AND {conditions.READ_SINCE.format(moment="m.unseen_at + make_interval(secs => $4::float8)")}
"""  # noqa: S608 - a constant condition
# Of these items, whose time to be told once more has come, the ones for which it is not too early: what was sold before the
# doubt is told and applied. An order that came afterwards would be taken off a number that counted it already. $3 items, $4
# seconds from the doubt until that time, $5 as before.
READ_SINCE_DOUBT = f"""
SELECT array_agg(m.item_id) FROM channel_stock m
WHERE m.tenant_id = $1 AND m.connection_id = $2 AND m.item_id = ANY($3::uuid[])
  AND {conditions.READ_SINCE.format(moment="m.late_until - make_interval(secs => $4::float8)")}
"""  # noqa: S608 - a constant condition
FORGET_UNSEEN = """
UPDATE channel_stock SET unseen = 0, unseen_back = 0
WHERE tenant_id = $1 AND connection_id = $2 AND item_id = ANY($3::uuid[])
"""
# Looked at again, although there is nothing to tell: unexplained units after $4 seconds, and what may have been overwritten
# by a number that came late. $3 items.
LOOK_AGAIN = """
UPDATE channel_stock
SET not_before = least(CASE WHEN unseen + unseen_back > 0 THEN clock_timestamp() + make_interval(secs => $4::float8) END,
                       greatest(late_until, clock_timestamp() + make_interval(secs => $4::float8)))
WHERE tenant_id = $1 AND connection_id = $2 AND item_id = ANY($3::uuid[])
"""

CONFIRM_FULFILLMENTS = """
UPDATE fulfillment SET state = 'confirmed'
WHERE tenant_id = $1 AND fulfillment_id = ANY($2::uuid[]) AND state = 'shipped'
RETURNING fulfillment_id
"""
FULFILL_LINES = """
UPDATE order_line l SET fulfilled = l.fulfilled + n.quantity
FROM (SELECT f.tenant_id, f.order_id, fl.line_id, sum(fl.quantity)::int AS quantity
      FROM fulfillment f JOIN fulfillment_line fl ON fl.tenant_id = $1 AND fl.fulfillment_id = f.fulfillment_id
      WHERE f.tenant_id = $1 AND f.fulfillment_id = ANY($2::uuid[]) GROUP BY f.tenant_id, f.order_id, fl.line_id OFFSET 0) n
WHERE l.tenant_id = n.tenant_id AND l.order_id = n.order_id AND l.line_id = n.line_id
"""
# The channel took what it fulfilled off its own number. Its mark is looked at again in any case.
SETTLE_FULFILLED_STOCK = """
UPDATE channel_stock m
SET acked_quantity = m.acked_quantity - n.units,
    dirty = m.mode <> 'observe',
    dirty_at = CASE WHEN m.mode <> 'observe' THEN coalesce(m.dirty_at, clock_timestamp()) END,
    not_before = CASE WHEN m.tries > 0 THEN m.not_before END
FROM (SELECT f.tenant_id, $2::uuid AS connection_id, vi.item_id, sum(fl.quantity * vi.required_qty)::int AS units
      FROM fulfillment f
      JOIN fulfillment_line fl ON fl.tenant_id = $1 AND fl.fulfillment_id = f.fulfillment_id
      JOIN order_line ol ON ol.tenant_id = $1 AND ol.order_id = f.order_id AND ol.line_id = fl.line_id
      JOIN variant_item vi ON vi.tenant_id = $1 AND vi.variant_id = ol.variant_id
      WHERE f.tenant_id = $1 AND f.fulfillment_id = ANY($3::uuid[]) GROUP BY f.tenant_id, vi.item_id OFFSET 0) n
WHERE m.tenant_id = n.tenant_id AND m.connection_id = n.connection_id AND m.item_id = n.item_id AND m.acked_quantity IS NOT NULL
"""

# --- reads -----------------------------------------------------------------------------------------------------------
# A part of the orders behind $3 of which something is still to leave, and where to go on, null at the end. $4 orders at most, $5 rows to
# walk over at most.
OPEN_ORDERS = """
WITH walked AS MATERIALIZED (
  SELECT o.order_id, o.external_id, o.connection_id = $2 AND o.order_state IN ('pending', 'open', 'on_hold')
         AND o.fulfillment_state <> 'fulfilled' AS is_open
  FROM "order" o WHERE o.tenant_id = $1 AND o.order_id > $3 ORDER BY o.order_id LIMIT $5
), chosen AS MATERIALIZED (
  SELECT w.order_id, w.external_id FROM walked w
  WHERE w.is_open AND EXISTS (SELECT FROM order_line l
                              WHERE l.tenant_id = $1 AND l.order_id = w.order_id AND l.current > l.shipped)
  ORDER BY w.order_id LIMIT $4
)
SELECT array(SELECT external_id FROM chosen ORDER BY order_id) AS ids,
       CASE WHEN (SELECT count(*) FROM chosen) >= $4 THEN (SELECT order_id FROM chosen ORDER BY order_id DESC LIMIT 1)
            WHEN (SELECT count(*) FROM walked) >= $5 THEN (SELECT order_id FROM walked ORDER BY order_id DESC LIMIT 1)
       END AS last
"""
HAS_SETTINGS = "SELECT settings = $3::jsonb FROM connection WHERE tenant_id = $1 AND connection_id = $2"
LOAD_CURSORS = """
SELECT feed, cursor, version, extract(epoch FROM clock_timestamp() - last_ok_at)::float8 AS age_seconds
FROM poll_cursor WHERE tenant_id = $1 AND connection_id = $2
"""
ENSURE_CURSOR = """
INSERT INTO poll_cursor (tenant_id, connection_id, feed) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id, connection_id, feed) DO NOTHING
"""
LOAD_CURSOR = """
SELECT cursor, version, clock_timestamp() AS now FROM poll_cursor WHERE tenant_id = $1 AND connection_id = $2 AND feed = $3
"""
NOTE_FEED_ERROR = """
UPDATE poll_cursor SET last_error = $4 WHERE tenant_id = $1 AND connection_id = $2 AND feed = $3
"""
PARK_FETCH = """
UPDATE fetch_request SET tries = tries + 1, not_before = clock_timestamp() + make_interval(secs => $6::float8)
WHERE tenant_id = $1 AND connection_id = $2 AND topic = $3 AND external_id = $4 AND requested_by = $5
"""
END_FETCH = """
DELETE FROM fetch_request
WHERE tenant_id = $1 AND connection_id = $2 AND topic = $3 AND external_id = $4 AND requested_by = $5 RETURNING true
"""
# A hint came while the read was under way: the row stays for one more. $5 hints that are served, $6 seconds until then.
SERVE_HINTS = """
UPDATE fetch_request
SET hints = greatest(1, hints - $5::int), tries = 0, not_before = clock_timestamp() + make_interval(secs => $6::float8)
WHERE tenant_id = $1 AND connection_id = $2 AND topic = $3 AND external_id = $4 RETURNING true
"""
# $3 reads that were saved.
COUNT_BUNDLED = """
UPDATE lane_state SET hints_bundled = hints_bundled + $3::int WHERE tenant_id = $1 AND connection_id = $2
"""

# Orders that were placed in the connection and are cancelled there now. $3 commands, $4 how long its own word is waited for.
READ_CANCELLED = """
INSERT INTO fetch_request (tenant_id, connection_id, topic, external_id, requested_by, not_before)
SELECT $1, $2, 'order', o.external_id, coalesce(c.cause_event_id, c.command_id), clock_timestamp() + make_interval(secs => $4::float8)
FROM command c JOIN "order" o ON o.tenant_id = $1 AND o.order_id = c.entity_id AND o.connection_id = $2
WHERE c.tenant_id = $1 AND c.command_id = ANY($3::uuid[]) AND o.order_state <> 'cancelled'
ON CONFLICT (tenant_id, connection_id, topic, external_id) DO NOTHING
"""
