"""What a map or a hook says of a payload goes into plain text: nothing of a person may stand in it."""

from __future__ import annotations

import msgspec
import pytest
from tests.mapbed import ORDER

from tidegate.commerce.changes import Address, Customer, OrderPrivate
from tidegate.dispatch.mapping import conceal
from tidegate.mapping.apply import Refused

STREET = "Rue de la Paix 17, at the back of the yard"
PRIVATE = OrderPrivate(
    customer=Customer(email="ada@example.com", first_name="Ada", last_name="Lovelace", phone="+44 20 7946 0000"),
    shipping_address=Address(name="Ada Lovelace", street1=STREET, street2="12b", city="Köln", country_code="DE"),
)
PAYLOAD = msgspec.structs.replace(ORDER, private=PRIVATE, note="leave it with Bob")


@pytest.mark.parametrize(
    ("reason", "left"),
    [
        ("fields.depot: the table has no 'Köln'", "fields.depot: the table has no '...'"),
        ("fields.depot: the table has no 'KÖLN'", "fields.depot: the table has no '...'"),
        (f"customer.ref: decimal: {STREET[:30]!r} is no decimal number", "customer.ref: decimal: '...' is no decimal number"),
        ("ValueError: invalid literal for int() with base 10: '12b' at flows.py:3 in change",
         "ValueError: invalid literal for int() with base 10: '...' at flows.py:3 in change"),
        ("no box for Ada Lovelace (ada@example.com), leave it with Bob", "no box for ... (...), ..."),
        ("the country DE is not served at flows.py:7 in decide", "the country DE is not served at flows.py:7 in decide"),
    ],
)  # fmt: skip
def test_p6_reasons_quote_nothing_of_a_person(reason: str, left: str) -> None:
    assert conceal(Refused(code="mapping_failed", reason=reason), PAYLOAD).reason == left
