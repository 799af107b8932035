"""Write the part of a shop's Admin API that the connector's documents use: `python -m realsystems.recording.vendure_schema`.

Needs graphql-core. The conformance tests check every document and every recorded request against it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    build_client_schema,
    get_introspection_query,
    get_named_type,
    is_specified_scalar_type,
    parse,
    print_type,
    visit,
)

from realsystems.vendure import VendureShop
from realsystems.worldpg import WorldPostgres
from tidegate.connectors.vendure import queries

TARGET = Path(__file__).resolve().parents[2] / "tests" / "conformance" / "vendure_admin_api.graphql"
HEAD = "# Vendure 3.7.3 with our plugin: what the connector uses of its Admin API, read from a running shop.\n"


def documents() -> dict[str, str]:
    """Return the connector's documents by name."""
    found = {name: text for name, text in vars(queries).items() if name.isupper() and isinstance(text, str)}
    return {name: text for name, text in found.items() if not text.lstrip().startswith("fragment")}


def used_part(schema: GraphQLSchema) -> str:
    """Return the types and fields that the documents use, with everything that can be given to them."""
    used = _used_fields(schema)
    for named in schema.type_map.values():
        if isinstance(named, (GraphQLObjectType, GraphQLInterfaceType)):
            wanted = used.get(named.name, set()).union(*(used.get(one.name, set()) for one in named.interfaces))
            named.fields = {name: field for name, field in named.fields.items() if name in wanted}
            named.interfaces = tuple(one for one in named.interfaces if one.name in used)
    reached: dict[str, GraphQLNamedType] = {}
    for root in (schema.query_type, schema.mutation_type):
        assert root is not None
        _reach(root, reached)
    kept = [named for name, named in sorted(reached.items()) if not is_specified_scalar_type(named)]
    return HEAD + "\n" + "\n\n".join(print_type(named) for named in kept) + "\n"


def _used_fields(schema: GraphQLSchema) -> dict[str, set[str]]:
    used: defaultdict[str, set[str]] = defaultdict(set)
    types = TypeInfo(schema)

    class Collector(Visitor):
        def enter_field(self, node, *_):
            parent = types.get_parent_type()
            if parent is not None and not node.name.value.startswith("__"):
                used[parent.name].add(node.name.value)

    for text in documents().values():
        visit(parse(text), TypeInfoVisitor(types, Collector()))
    return dict(used)


def _reach(named: GraphQLNamedType, reached: dict[str, GraphQLNamedType]) -> None:
    if named.name in reached:
        return
    reached[named.name] = named
    for following in _mentioned(named):
        _reach(following, reached)


def _mentioned(named: GraphQLNamedType) -> Iterator[GraphQLNamedType]:
    if isinstance(named, GraphQLEnumType):
        return
    if isinstance(named, GraphQLUnionType):
        yield from named.types
    if isinstance(named, (GraphQLObjectType, GraphQLInterfaceType)):
        yield from named.interfaces
        for field in named.fields.values():
            yield get_named_type(field.type)
            yield from (get_named_type(argument.type) for argument in field.args.values())
    if isinstance(named, GraphQLInputObjectType):
        yield from (get_named_type(field.type) for field in named.fields.values())


def main() -> None:
    """Start a shop, ask for its schema, write the used part, stop the shop."""
    shop = VendureShop("rec_shop", world=WorldPostgres())
    shop.start()
    try:
        described = shop.admin(get_introspection_query(descriptions=False))
    finally:
        shop.stop()
    TARGET.write_text(used_part(build_client_schema(described)), encoding="utf-8")
    print(f"wrote {TARGET.name}")


if __name__ == "__main__":
    main()
