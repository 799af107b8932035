"""What a Tryton says about the key's rights. Reads only.

It has no webhooks and no limits, and a validated key does not expire. What its user may write cannot be asked without
writing, so that stays unknown.
"""

from __future__ import annotations

from tidegate.connectors.tryton.rest import Rest
from tidegate.kernel.errors import ConfigurationError
from tidegate.sdk.health import Checks, Grants
from tidegate.sdk.http import Api

READ = {
    "sale.sale": ("state", "web_id"),
    "sale.line": ("quantity",),
    "stock.move": ("state", "quantity"),
    "stock.shipment.out": ("state",),
    "stock.location": ("name",),
    "product.product": ("code",),
    "party.party": ("name",),
    "web.shop": ("name",),
}
"""Model -> some of its fields that orders and feeds need."""
WRITTEN = ("create sale.sale", "buttons of sale.sale")


async def check_grants(api: Api) -> Grants:
    """Try to read each model that is needed."""
    rest = Rest(api)
    missing = []
    for model, fields in READ.items():
        try:
            await rest.search(model, [], ["id", *fields], records_max=1)
        except ConfigurationError:
            missing.append(f"read {model}")
    return Grants(missing=tuple(missing), unknown=WRITTEN)


CHECKS = Checks(grants=check_grants)
