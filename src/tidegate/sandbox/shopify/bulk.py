"""Bulk operations: a query runs over everything, and its result is a file of JSON lines behind an address.

Source: Shopify, Perform bulk operations with the GraphQL Admin API (5 at once from 2026-01, nested connections as lines with
`__parentId`, at most 5 connections and 2 levels of them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from graphql import DocumentNode, FieldNode, FragmentDefinitionNode, GraphQLError, SelectionSetNode, parse

from tidegate.sandbox.world import Place

AT_ONCE = 5
CONNECTIONS_MAX = 5
KEPT = 100
LEVELS_MAX = 2
BULK_IDS = 3_000_000_000_000


@dataclass
class BulkOperation:
    """One run. `completed_at` is when it is (or was) done."""

    id: int
    query: str
    created_at: float
    completed_at: float
    result: bytes
    roots: int
    objects: int
    url: str
    status: str = "RUNNING"


class Bulks:
    """The bulk operations of one app in one shop."""

    def __init__(
        self,
        place: Place,
        seconds: float,
        run: Callable[[str], Mapping[str, Any]],
        version: Callable[[], str],
        tell: Callable[[str, Any], None],
    ) -> None:
        """`run` executes a query over everything and returns its data; `seconds` is how long that is said to take."""
        self.place, self._seconds, self._run, self.version, self._tell = place, seconds, run, version, tell
        self.operations: dict[int, BulkOperation] = {}
        self.base_url = ""
        self._made = 0

    def find(self, number: int) -> BulkOperation | None:
        """Return a run as it stands now."""
        self.settle()
        return self.operations.get(number)

    def settle(self) -> None:
        """Complete what is due."""
        now = self.place.now()
        for one in self.operations.values():
            if one.status == "RUNNING" and one.completed_at <= now:
                one.status = "COMPLETED"
                body = {
                    "admin_graphql_api_id": f"gid://shopify/BulkOperation/{one.id}",
                    "completed_at": one.completed_at,
                    "created_at": one.created_at,
                    "error_code": None,
                    "status": "completed",
                    "type": "query",
                }
                self._tell("bulk_operations/finish", body)

    def start(self, query: str) -> BulkOperation | tuple[str, str]:
        """Begin a run; (code, message) where it cannot be."""
        self.settle()
        if sum(one.status == "RUNNING" for one in self.operations.values()) >= AT_ONCE:
            return "OPERATION_IN_PROGRESS", f"{AT_ONCE} bulk operations of this app and shop are running already."
        try:
            depth, connections = _shape(parse(query))
        except GraphQLError as error:
            return "INVALID", f"Invalid bulk query: {error.message}"
        except RecursionError:
            return "INVALID", "Invalid bulk query: it is nested without end."
        if not connections:
            return "INVALID", "Invalid bulk query: Bulk queries must contain at least one connection."
        if connections > CONNECTIONS_MAX or depth > LEVELS_MAX:
            return "INVALID", f"Bulk queries have at most {CONNECTIONS_MAX} connections, nested {LEVELS_MAX} deep."
        try:
            data = self._run(query)
        except GraphQLError as error:
            return "INVALID", f"Invalid bulk query: {error.message}"
        lines = list(_lines(data))
        roots = sum("__parentId" not in line for line in lines)
        self._made += 1
        now, number = self.place.now(), BULK_IDS + self._made
        if len(self.operations) >= KEPT:
            self.operations.pop(next(iter(self.operations)))
        one = self.operations[number] = BulkOperation(
            id=number,
            query=query,
            created_at=now,
            completed_at=now + self._seconds / self.place.world.spec.time_scale,
            result=b"".join(msgspec.json.encode(line) + b"\n" for line in lines),
            roots=roots,
            objects=len(lines),
            url=f"{self.base_url}/bulk/{number}.jsonl",
        )
        return one

    def cancel(self, one: BulkOperation) -> None:
        """Stop a run."""
        if one.status == "RUNNING":
            one.status, one.completed_at = "CANCELED", self.place.now()


def _lines(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the nodes of all connections: a parent before its children, which name it."""
    for value in data.values():
        if _is_connection(value):
            for node in _nodes(value):
                yield from _node_lines(node, None)


def _node_lines(node: Mapping[str, Any], parent: str | None) -> Iterator[dict[str, Any]]:
    inner = {name: value for name, value in node.items() if _is_connection(value)}
    line = {name: value for name, value in node.items() if name not in inner}
    if parent is not None:
        line["__parentId"] = parent
    yield line
    for value in inner.values():
        for child in _nodes(value):
            yield from _node_lines(child, line.get("id"))


def _is_connection(value: Any) -> bool:
    return isinstance(value, Mapping) and ("edges" in value or "nodes" in value)


def _nodes(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return value["nodes"] if "nodes" in value else [edge["node"] for edge in value["edges"]]


def _shape(document: DocumentNode) -> tuple[int, int]:
    """Return how deep connections are nested in a document, and how many there are."""
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}

    def walk(selection: SelectionSetNode | None) -> tuple[int, int]:
        depth = count = 0
        for one in selection.selections if selection else ():
            if isinstance(one, FieldNode):
                inner_depth, inner_count = walk(one.selection_set)
                names = {part.name.value for part in _direct_fields(one.selection_set)}
                is_connection = bool(names & {"edges", "nodes"})
                depth, count = max(depth, inner_depth + is_connection), count + inner_count + is_connection
            else:
                inner = fragments.get(one.name.value) if hasattr(one, "name") else one
                inner_depth, inner_count = walk(getattr(inner, "selection_set", None))
                depth, count = max(depth, inner_depth), count + inner_count
        return depth, count

    depth = count = 0
    for one in document.definitions:
        if not isinstance(one, FragmentDefinitionNode):
            inner_depth, inner_count = walk(getattr(one, "selection_set", None))
            depth, count = max(depth, inner_depth), count + inner_count
    return depth, count


def _direct_fields(selection: SelectionSetNode | None) -> list[FieldNode]:
    return [one for one in (selection.selections if selection else ()) if isinstance(one, FieldNode)]
