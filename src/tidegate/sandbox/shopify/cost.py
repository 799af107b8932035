"""What a document costs: asked for before it runs, and what it was afterwards. Pure.

A scalar costs 0, an object 1, a mutation 10, a connection 2 and its `first` (or `last`) times what a node costs; a list of
objects with `first`, or of ids, likewise. Beneath a mutation only connections are charged. What a document asks for is
charged as if everything were there; what it was counts the nodes that came, and nothing for what is null.
Source: Shopify, GraphQL Admin API rate limits (cost calculation), and "Rate limiting GraphQL APIs by calculating query
complexity" for the 2 of a connection. Shopify has lowered the price of large connections since and does not tell how: who
stays within these costs stays within the real ones.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_list_type,
)
from graphql.type import get_nullable_type

from tidegate.sandbox.shopify.errors import Refusal

MUTATION_COST = 10
CONNECTION_COST = 2
FIELDS_MAX = 50_000
"""How many fields of a document are looked at, fragments written out."""
QUERY_MAX = 1000
"""What a single query may ask for."""
_FREE = frozenset({"pageInfo"})


class Costs:
    """Costs of documents under one schema."""

    def __init__(
        self,
        schema: GraphQLSchema,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: Mapping[str, Any],
    ) -> None:
        self._schema, self._fragments, self._variables = schema, fragments, variables
        self._left = FIELDS_MAX

    def asked(self, operation: OperationDefinitionNode) -> int:
        """Return what an operation asks for. Raises Refusal where fragments make it larger than can be looked at."""
        self._left = FIELDS_MAX
        return self._of_root(operation, None)

    def actual(self, operation: OperationDefinitionNode, data: Mapping[str, Any] | None) -> int:
        """Return what an operation was, from its data."""
        self._left = sys.maxsize
        return 0 if data is None else self._of_root(operation, data)

    def _of_root(self, operation: OperationDefinitionNode, data: Mapping[str, Any] | None) -> int:
        is_mutation = operation.operation.value == "mutation"
        root = self._schema.mutation_type if is_mutation else self._schema.query_type
        if root is None:
            return 0
        total = 0
        for field, definition in self._fields(operation.selection_set, root):
            name = field.alias.value if field.alias else field.name.value
            value = _ASKED if data is None else data.get(name)
            if is_mutation:
                total += MUTATION_COST + (self._beneath_mutation(field, definition, value))
            else:
                total += self._of_field(field, definition, value)
        return total

    def _beneath_mutation(self, field: FieldNode, definition: GraphQLField, value: Any) -> int:
        """Return the cost of the connections in a mutation's payload; its objects are paid with it."""
        kind = get_named_type(definition.type)
        if value is None or field.selection_set is None or not isinstance(kind, GraphQLObjectType):
            return 0
        if _is_connection(kind):
            return self._of_field(field, definition, value)
        one = value[0] if isinstance(value, list) and value else value
        if isinstance(one, list):
            return 0
        return sum(
            self._beneath_mutation(inner, inner_definition, _part(one, inner))
            for inner, inner_definition in self._fields(field.selection_set, kind)
        )

    def _of_field(self, field: FieldNode, definition: GraphQLField, value: Any) -> int:
        kind = get_named_type(definition.type)
        if field.selection_set is None or value is None or field.name.value in _FREE:
            return 0
        if _is_connection(kind):
            return CONNECTION_COST + self._nodes(field, kind, value)
        if is_list_type(get_nullable_type(definition.type)):
            if value is _ASKED:
                return (self._size(field) or 1) * (1 + self._children(field.selection_set, kind, _ASKED))
            return sum(1 + self._children(field.selection_set, kind, one) for one in value if one is not None)
        return 1 + self._children(field.selection_set, kind, value)

    def _nodes(self, field: FieldNode, kind: Any, value: Any) -> int:
        """Return the cost of a connection's nodes, whether they are asked for as `nodes` or as `edges`."""
        total = 0
        for inner, definition in self._fields(field.selection_set, kind):
            if inner.name.value not in ("nodes", "edges"):
                continue
            of_node, node_kind = inner.selection_set, get_named_type(definition.type)
            if inner.name.value == "edges":
                node = next((one for one in self._fields(of_node, node_kind) if one[0].name.value == "node"), None)
                of_node, node_kind = (
                    (node[0].selection_set, get_named_type(node[1].type)) if node else (None, node_kind)
                )
            if value is _ASKED:
                return (self._size(field) or 0) * (1 + self._children(of_node, node_kind, _ASKED))
            rows = _part(value, inner) or []
            nodes = [one.get("node") for one in rows] if inner.name.value == "edges" else rows
            total = max(total, sum(1 + self._children(of_node, node_kind, one) for one in nodes if one is not None))
        return total

    def _children(self, selection: SelectionSetNode | None, kind: Any, value: Any) -> int:
        """Return the cost of an object's fields; of an interface or union, of the dearest of its types."""
        if selection is None:
            return 0
        if isinstance(kind, GraphQLInterfaceType | GraphQLUnionType):
            kinds = set(_conditions(selection, self._fragments))
            found = [self._schema.get_type(name) for name in kinds]
            possible = [one for one in found if isinstance(one, GraphQLObjectType)]
            return max((self._children(selection, one, value) for one in possible), default=0)
        return sum(
            self._of_field(field, definition, _ASKED if value is _ASKED else _part(value, field))
            for field, definition in self._fields(selection, kind)
        )

    def _fields(self, selection: SelectionSetNode | None, kind: Any) -> list[tuple[FieldNode, GraphQLField]]:
        """Return the fields of an object that a selection asks for, through fragments."""
        found: list[tuple[FieldNode, GraphQLField]] = []
        if selection is None or not isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            return found
        self._left -= len(selection.selections)
        if self._left < 0:
            raise Refusal("Query is too complex", "BAD_REQUEST")
        for one in selection.selections:
            if isinstance(one, FieldNode):
                definition = kind.fields.get(one.name.value)
                if definition is not None:
                    found.append((one, definition))
                continue
            inner, condition = one, None
            if isinstance(one, FragmentSpreadNode):
                inner = self._fragments[one.name.value]  # type: ignore[assignment]
            if isinstance(inner, InlineFragmentNode | FragmentDefinitionNode):
                condition = inner.type_condition.name.value if inner.type_condition else None
                if condition is None or self._fits(kind, condition):
                    found += self._fields(inner.selection_set, kind)
        return found

    def _fits(self, kind: GraphQLObjectType | GraphQLInterfaceType, condition: str) -> bool:
        return condition == kind.name or any(interface.name == condition for interface in kind.interfaces)

    def _size(self, field: FieldNode) -> int | None:
        """Return how many objects a field asks for: `first`, `last`, or the number of `ids`."""
        for argument in field.arguments or ():
            if argument.name.value not in ("first", "last", "ids"):
                continue
            value: Any = argument.value
            if isinstance(value, VariableNode):
                value = self._variables.get(value.name.value)
            elif isinstance(value, IntValueNode):
                value = int(value.value)
            elif isinstance(value, ListValueNode):
                value = list(value.values)
            if isinstance(value, list):
                return len(value)
            if isinstance(value, int):
                return max(0, value)
        return None


_ASKED: Any = object()
"""In place of a value: what a document asks for is counted."""


def _is_connection(kind: Any) -> bool:
    return isinstance(kind, GraphQLObjectType) and kind.name.endswith("Connection") and "pageInfo" in kind.fields


def _part(value: Any, field: FieldNode) -> Any:
    return value.get(field.alias.value if field.alias else field.name.value) if isinstance(value, Mapping) else None


def _conditions(selection: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]) -> Sequence[str]:
    found: list[str] = []
    for one in selection.selections:
        inner = fragments[one.name.value] if isinstance(one, FragmentSpreadNode) else one
        if isinstance(inner, InlineFragmentNode | FragmentDefinitionNode) and inner.type_condition:
            found.append(inner.type_condition.name.value)
            found += _conditions(inner.selection_set, fragments)
    return found
