"""Make an activated Tryton database usable: company, chart, warehouse, web shop, REST keys; run by the ERP's own Python.

    TRYTOND_DATABASE_URI=postgresql://... seed.py ADMIN_PASSWORD CONNECTOR_PASSWORD

Prints one JSON object: the ids and the keys that clients need. Not safe to repeat on one database.
"""

# The ERP's packages live in their own virtual environment and carry no type information.
# mypy: ignore-errors

from __future__ import annotations

import json
import os
import sys

from proteus import Model, config
from trytond.modules.account.tests.tools import create_chart, create_fiscalyear, get_accounts
from trytond.modules.account_invoice.tests.tools import (
    create_payment_term,
    set_fiscalyear_invoice_sequences,
)
from trytond.modules.company.tests.tools import create_company, get_company

CURRENCY = "EUR"
COMPANY_NAME = "Harbour Goods"
CUSTOMER_NAME = "Web customers"
SUPPLIER_NAME = "Supplier"
WEB_SHOP_NAME = "Tidegate"
CONNECTOR_LOGIN = "tidegate"
# Groups of the connector's user. "Sales Administrator" is what pressing `process` takes; the rest of the
# walk of a web order needs no more than the other two.
CONNECTOR_GROUPS = ("Sales", "Sales Administrator", "Stock")
SERVICES = {"SHIPPING": "Shipping", "DISCOUNT": "Discount"}


def seed(admin_password: str, connector_password: str) -> dict[str, object]:
    """Create everything that is the same for every merchant and return what a client has to know."""
    party = _create_party(COMPANY_NAME)
    create_company(party=party, currency=CURRENCY)
    company = get_company()
    create_chart()
    set_fiscalyear_invoice_sequences(create_fiscalyear()).click("create_period")
    category = _create_account_category()
    unit = _find("product.uom", "name", "Unit")
    services = {sku: _create_service(sku, name, unit, category) for sku, name in SERVICES.items()}
    customer, supplier = _create_party(CUSTOMER_NAME), _create_party(SUPPLIER_NAME)
    term = create_payment_term()
    term.save()
    warehouse = _find("stock.location", "type", "warehouse")
    shop = _create_web_shop(company, warehouse)
    admin = _find("res.user", "login", "admin")
    connector = _create_connector_user(company, connector_password)
    return {
        "company": company.id,
        "currency": company.currency.id,
        "unit": unit.id,
        "account_category": category.id,
        "customer": customer.id,
        "customer_address": customer.addresses[0].id,
        "supplier": supplier.id,
        "supplier_location": supplier.supplier_location.id,
        "payment_term": term.id,
        "warehouse": warehouse.id,
        "storage_location": warehouse.storage_location.id,
        "input_location": warehouse.input_location.id,
        "output_location": warehouse.output_location.id,
        "web_shop": shop.id,
        "services": services,
        "rest_key": _create_rest_key(connector),
        "connector_login": CONNECTOR_LOGIN,
        "connector_password": connector_password,
        "staff_key": _create_rest_key(admin),
        "admin_password": admin_password,
    }


def _create_party(name: str) -> Model:
    party = Model.get("party.party")(name=name)
    party.addresses[0].street = "Quay 1"
    party.addresses[0].city = "Hamburg"
    party.save()
    return party


def _create_account_category() -> Model:
    """Articles of this category carry no customer tax.

    A web order brings gross prices that the customer has already agreed to. With the gross price as the
    unit price and no tax on the article, the sale's total equals the order's to the cent, whatever the
    shop's rounding; taxes are then split out when invoices are posted, which is not played here.
    """
    accounts = get_accounts()
    category = Model.get("product.category")(name="Goods, gross prices", accounting=True)
    category.account_expense, category.account_revenue = accounts["expense"], accounts["revenue"]
    category.save()
    return category


def _create_service(sku: str, name: str, unit: Model, category: Model) -> int:
    """Create an article that is sold but never moved, for the lines of an order that are not goods."""
    template = Model.get("product.template")(name=name, default_uom=unit, type="service", salable=True)
    template.account_category = category
    template.code = None
    template.products[0].suffix_code = sku
    template.save()
    return int(template.products[0].id)


def _create_web_shop(company: Model, warehouse: Model) -> Model:
    shop = Model.get("web.shop")(name=WEB_SHOP_NAME, company=company, currency=company.currency)
    shop.warehouses.append(warehouse)
    shop.save()
    return shop


def _create_connector_user(company: Model, password: str) -> Model:
    user = Model.get("res.user")(name="Tidegate", login=CONNECTOR_LOGIN, password=password)
    user.companies.append(company)
    user.company = company
    for name in CONNECTOR_GROUPS:
        user.groups.append(_find("res.group", "name", name))
    user.save()
    return user


def _create_rest_key(user: Model) -> str:
    """Give a user a key of the REST protocol; one that an administrator makes is valid at once."""
    application = Model.get("res.user.application")(application="rest", user=user)
    application.save()
    application.reload()
    return str(application.key)


def _find(model: str, field: str, value: str) -> Model:
    (found,) = Model.get(model).find([(field, "=", value)])
    return found


def main() -> None:
    """Seed the database that the environment names."""
    config.set_trytond(os.environ["TRYTOND_DATABASE_URI"])
    print(json.dumps(seed(admin_password=sys.argv[1], connector_password=sys.argv[2])))


if __name__ == "__main__":
    main()
