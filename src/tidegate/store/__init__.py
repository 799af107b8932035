"""PostgreSQL: connections and pools, roles and grants, migrations, and the named SQL statements.

Called by every room that keeps state. Imports `kernel` only.
"""
