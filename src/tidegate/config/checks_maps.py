"""Whether maps, tables and hooks are what their targets and their engine take. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tidegate.commerce.commands import CommandKind
from tidegate.config.document import Document, Mark, Problem
from tidegate.config.records import Config
from tidegate.mapping.compile import Targets, compile_maps
from tidegate.mapping.problems import MapProblem
from tidegate.mapping.references import Files
from tidegate.sdk.connector import Connector, Target


def check_maps(
    config: Config, document: Document, text: str, connectors: Mapping[str, Connector], files: Files | None
) -> Iterator[Problem]:
    """Names, types, tables and expressions of the maps, and that their targets take what they fill.

    `text` is what `document` was read from: a problem inside an expression is shown at its own column.
    """
    for flow, has_flow in (("orders", config.flows.orders), ("shipments", config.flows.shipments)):
        if has_flow is None and getattr(config.maps, flow):
            mark = document.mark_of_key(("maps", flow))
            yield Problem(mark=mark, message=f"there is no flow {flow!r} for this map", hint="add it under `flows`")
    targets = targets_of(config, connectors)
    _, problems = compile_maps(config.maps, config.tables, config.hooks, files=files, targets=targets)
    for problem in problems:
        yield Problem(mark=_mark(problem, document, text), message=problem.message, hint=problem.hint)


def targets_of(config: Config, connectors: Mapping[str, Connector]) -> Targets:
    """Return, per flow, what each connector that it goes to declares that a map may fill."""
    flows = config.flows
    found: dict[str, list[Sequence[Target]]] = {"orders": [], "shipments": []}
    if flows.orders is not None:
        found["orders"] = _declared(config, (flows.orders.target,), CommandKind.ORDER_CREATE, connectors)
    if flows.shipments is not None and flows.orders is not None:
        found["shipments"] = _declared(config, flows.orders.sources, CommandKind.FULFILLMENT_CREATE, connectors)
    return {"orders": found["orders"], "shipments": found["shipments"]}


def _declared(
    config: Config, names: Sequence[str], kind: CommandKind, connectors: Mapping[str, Connector]
) -> list[Sequence[Target]]:
    uses = [config.connections[name].use for name in names if name in config.connections]
    return [connectors[use].targets.get(kind, ()) for use in uses if use in connectors]


def _mark(problem: MapProblem, document: Document, text: str) -> Mark:
    """Return where a problem is; inside of an expression that stands on one line, its own column."""
    if problem.is_key:
        return document.mark_of_key(problem.place)
    mark = document.mark_of(problem.place)
    if not problem.position:
        return mark
    line = text.splitlines()[mark.line - 1 : mark.line]
    begins = line[0][mark.column - 1 : mark.column] if line else ""
    if begins in ("|", ">"):
        return mark
    return Mark(mark.line, mark.column + problem.position + (begins in ("'", '"')))
