"""Describes a database schema as canonical text, so that two schemas can be compared line by line.

Names, types, defaults, constraints, indexes and partitioning count; physical order of columns,
object ids, owners and grants do not. The runner's own table is left out.
"""

from tidegate.store.connections import DirectConnection

_RELATIONS = """
SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view'
                      WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' END
       || ' ' || c.oid::regclass::text
       || coalesce(' PARTITION BY ' || pg_get_partkeydef(c.oid), '')
       || coalesce(' OF ' || i.inhparent::regclass::text || ' '
                   || pg_get_expr(c.relpartbound, c.oid), '')
       || coalesce(' WITH (' || (SELECT string_agg(o, ', ' ORDER BY o) FROM unnest(c.reloptions) o) || ')', '')
       || CASE c.relpersistence WHEN 'u' THEN ' UNLOGGED' ELSE '' END
       || CASE WHEN c.relrowsecurity THEN ' ROW SECURITY' ELSE '' END
       || CASE WHEN c.relforcerowsecurity THEN ' FORCED' ELSE '' END
       || CASE WHEN c.relkind IN ('v', 'm') THEN E'\n' || pg_get_viewdef(c.oid) ELSE '' END
       || coalesce(' ' || format_type(s.seqtypid, NULL) || ' START ' || s.seqstart || ' INCREMENT '
                   || s.seqincrement || ' CACHE ' || s.seqcache
                   || CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END, '')
FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND c.relispartition
LEFT JOIN pg_sequence s ON s.seqrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S')
"""

_COLUMNS = """
SELECT 'column ' || c.oid::regclass::text || '.' || quote_ident(a.attname) || ' '
       || format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
       || CASE a.attidentity WHEN '' THEN '' ELSE ' IDENTITY ' || a.attidentity::text END
       || coalesce(CASE a.attgenerated WHEN '' THEN ' DEFAULT ' ELSE ' GENERATED ' END
                   || pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
"""

# NOT NULL stands with the column; newer servers list it here as well.
_CONSTRAINTS = """
SELECT 'constraint ' || c.oid::regclass::text || ' ' || quote_ident(k.conname) || ' '
       || pg_get_constraintdef(k.oid)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE k.contype <> 'n'
"""

_INDEXES = """
SELECT 'index ' || pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relkind IN ('r', 'p', 'm')
"""

_TRIGGERS = """
SELECT 'trigger ' || pg_get_triggerdef(t.oid)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal
"""

_POLICIES = """
SELECT 'policy ' || c.oid::regclass::text || ' ' || quote_ident(p.polname) || ' ' || p.polcmd::text
       || CASE WHEN p.polpermissive THEN ' PERMISSIVE' ELSE ' RESTRICTIVE' END
       || ' TO ' || array_to_string(ARRAY(SELECT r::regrole::text FROM unnest(p.polroles) r), ', ')
       || coalesce(' USING ' || pg_get_expr(p.polqual, p.polrelid), '')
       || coalesce(' CHECK ' || pg_get_expr(p.polwithcheck, p.polrelid), '')
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
WHERE true
"""

_OF_OUR_SCHEMA = " AND c.relnamespace = 'public'::regnamespace AND c.relname <> 'schema_migration'"

_FUNCTIONS = """
SELECT 'function ' || pg_get_functiondef(p.oid)
FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND p.prokind IN ('f', 'p')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
"""

_TYPES = """
SELECT 'type ' || t.oid::regtype::text || ' '
       || coalesce((SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                    FROM pg_enum e WHERE e.enumtypid = t.oid),
                   format_type(t.typbasetype, t.typtypmod))
FROM pg_type t
WHERE t.typnamespace = 'public'::regnamespace AND t.typtype IN ('e', 'd')
"""


async def describe_schema(connection: DirectConnection) -> str:
    """Return one line per object of schema `public`, sorted; equal schemas give equal text."""
    lines: list[str] = []
    for statement in (_RELATIONS, _COLUMNS, _CONSTRAINTS, _INDEXES, _TRIGGERS, _POLICIES):
        lines += [row[0] for row in await connection.fetch(statement + _OF_OUR_SCHEMA)]
    for statement in (_FUNCTIONS, _TYPES):
        lines += [row[0] for row in await connection.fetch(statement)]
    return "\n".join(sorted(lines)) + "\n"
