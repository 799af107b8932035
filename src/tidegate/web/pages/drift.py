"""Drift: where systems differ from what the owner of a field says, and what that is worth."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, get_args

from litestar import Response

from tidegate.config import Config
from tidegate.dispatch.drift import compared_connections, request_run
from tidegate.kernel.errors import TransientError
from tidegate.monitor.conflicts import RULE_WORDS, WRITTEN_THERE, rule_of
from tidegate.monitor.drift_view import CAUSE_WORDS, HEAL_WORDS, FieldGroup, read_drift
from tidegate.monitor.search import list_connections
from tidegate.web.pages.visit import Here

TOP = 100
FIELDS: tuple[FieldGroup, ...] = get_args(FieldGroup)


async def show(here: Here) -> Response[Any]:
    """Show what the last look found, the most value at risk first."""
    field = next((name for name in FIELDS if name == here.asked("field")), None)
    try:
        config = await here.config()
    except TransientError:  # nothing was put to work yet, and nothing differs
        config = Config()
    async with here.reading() as conn:
        names = [row["name"] for row in await list_connections(conn, here.tenant_id)]
        connection = next((name for name in names if name == here.asked("connection")), None)
        view = await read_drift(conn, here.tenant_id, top=TOP, field=field, connection=connection)
    return here.show(
        "drift.html",
        view=view,
        names=names,
        fields=FIELDS,
        field=field or "",
        connection=connection or "",
        cause_words={str(cause): words for cause, words in CAUSE_WORDS.items()},
        heal_words=HEAL_WORDS,
        written_there=frozenset(str(cause) for cause in WRITTEN_THERE),
        rule_words=lambda row: RULE_WORDS[rule_of(config, row.other, row.field)],
        amount=amount,
    )


async def look(here: Here) -> Response[Any]:
    """Ask for a fresh look; the lanes read within their budgets."""
    config = await here.config()
    async with here.writing() as conn:
        await request_run(
            conn, tenant_id=here.tenant_id, actor=here.actor, names=compared_connections(config, here.connectors)
        )
    return here.go("/drift", "The systems are read now, within their budgets. Open the page again in a moment.")


def amount(value: Decimal | None, currency: str = "", *, signed: bool = False) -> str:
    """Return units or an amount without the zeros that nobody wrote. Pure."""
    if value is None:
        return "\N{EN DASH}"
    sign = "+" if signed else ""
    if currency:
        return f"{value:{sign}.2f} {currency}"
    return f"{value.normalize():{sign}f}"
