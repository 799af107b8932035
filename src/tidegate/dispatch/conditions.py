"""Conditions that several statements of lanes share; no statements of their own. $1 is the tenant, $2 the connection."""

from __future__ import annotations

# All that a channel's feeds told when they were last read is applied, and nothing of it waits. A channel that sells all day has
# something in the queue at any moment: a webhook that came after that read is younger (ids begin with the time of the process that
# made them, whose clock may be wrong: of what was read itself, whatever waits counts). Where orders come by webhooks alone, nothing at
# all may wait. An order of which all that came is in quarantine was placed, and nobody knows of what: it waits too, for as long as it
# is kept and could be sent through once more. $5 feeds that tell of nothing and only mend.
_ALL_APPLIED = """NOT EXISTS (
    SELECT FROM event_queue q JOIN event e ON e.tenant_id = $1 AND e.event_id = q.event_id
    WHERE q.tenant_id = $1 AND e.connection_id = $2
      AND (e.source IN ('poll', 'fetch') OR left(replace(e.event_id::text, '-', ''), 12) COLLATE "C" <= (
        SELECT coalesce(lpad(to_hex(floor(extract(epoch FROM max(p.last_ok_at) + interval '5 s') * 1000)::bigint), 12, '0'), 'g')
        FROM poll_cursor p WHERE p.tenant_id = $1 AND p.connection_id = $2 AND p.feed <> ALL($5::text[]))))
  AND NOT EXISTS (
    SELECT FROM event_parked k
    WHERE k.tenant_id = $1 AND k.connection_id = $2
      AND (k.kind = 'parked' OR (
        k.ordering_key LIKE 'order:%'
        AND NOT EXISTS (SELECT FROM "order" o WHERE o.tenant_id = $1 AND o.connection_id = $2
                                                AND o.external_id = substr(k.ordering_key, 7))
        AND EXISTS (SELECT FROM event e WHERE e.tenant_id = $1 AND e.event_id = k.event_id))))
  AND NOT EXISTS (SELECT FROM fetch_request f WHERE f.tenant_id = $1 AND f.connection_id = $2)"""

# The channel's feeds were read to their end since {moment}, an expression. For `str.format`.
FEEDS_READ_SINCE = """NOT EXISTS (
    SELECT FROM poll_cursor p
    WHERE p.tenant_id = $1 AND p.connection_id = $2 AND p.feed <> ALL($5::text[])
      AND (p.even_at IS NULL OR p.even_at < {moment}))"""
# The same, and all is applied.
READ_SINCE = f"""{FEEDS_READ_SINCE}
  AND {_ALL_APPLIED}"""
