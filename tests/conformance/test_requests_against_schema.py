"""What the Vendure connector sends is what a real shop's schema takes: every document, every recorded request."""

from pathlib import Path
from typing import Any

import pytest

from tidegate.connectors import vendure
from tidegate.connectors.vendure import queries
from tidegate.sdk.testing.conformance.fixtures import ExchangeFixture, load

graphql = pytest.importorskip("graphql", reason="graphql-core is not installed")

SCHEMA = graphql.build_schema(Path(__file__).with_name("vendure_admin_api.graphql").read_text())
DOCUMENTS = {
    name: text
    for name, text in vars(queries).items()
    if name.isupper() and isinstance(text, str) and not text.lstrip().startswith("fragment")
}
RECORDED = [
    pytest.param(exchange.request.body, id=f"{fixture.name}-{number}")
    for fixture in load(Path(vendure.__file__).parent / "fixtures" / "exchanges", ExchangeFixture)
    for number, exchange in enumerate(fixture.exchanges)
]


def operation_of(document: Any) -> Any:
    (operation,) = [one for one in document.definitions if one.kind == "operation_definition"]
    return operation


def test_there_are_documents_and_the_schema_is_sound() -> None:
    assert {"LOGIN", "ORDERS", "ORDER", "FULFILL", "SET_STOCK"} <= DOCUMENTS.keys()
    assert graphql.validate_schema(SCHEMA) == []


@pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_a_document_is_valid(text: str) -> None:
    document = graphql.parse(text)

    assert graphql.validate(SCHEMA, document) == []
    assert operation_of(document).name is not None, "the shop's log names operations"


@pytest.mark.parametrize("body", RECORDED)
def test_a_recorded_request_is_one_of_the_documents_with_variables_that_fit(body: dict[str, Any]) -> None:
    assert body["query"] in DOCUMENTS.values()
    definitions = operation_of(graphql.parse(body["query"])).variable_definitions or ()
    variables = dict(body["variables"])
    if body["query"] == queries.LOGIN:
        variables.setdefault("password", "left out of recordings")

    found = graphql.get_variable_values(SCHEMA, definitions, variables)

    assert not isinstance(found, list), found
    assert variables.keys() == {definition.variable.name.value for definition in definitions}


def test_an_unknown_field_and_a_misplaced_variable_would_be_noticed() -> None:
    unknown = graphql.parse("{ activeChannel { id nothing } }")
    misplaced = operation_of(graphql.parse(queries.ORDERS)).variable_definitions

    assert graphql.validate(SCHEMA, unknown) != []
    assert isinstance(graphql.get_variable_values(SCHEMA, misplaced, {"options": {"take": "many"}}), list)
