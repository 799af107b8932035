"""`tidegate map`: what maps say, and what they would make of the orders that really came."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import click
import msgspec

from tidegate.cli.output import print_json, print_table, safe_line
from tidegate.cli.session import (
    Session,
    find_project,
    json_option,
    known_connectors,
    open_session,
    project_option,
)
from tidegate.config import Config, load
from tidegate.config.checks_maps import targets_of
from tidegate.config.files import read_files
from tidegate.kernel.errors import ConfigurationError
from tidegate.mapping.compile import CompiledMaps, compile_maps, has_hooks
from tidegate.mapping.expressions import FUNCTIONS
from tidegate.mapping.hook_host import HookHost
from tidegate.mapping.paths import HOOK_PLACES, Flow, sources_of
from tidegate.mapping.preview import (
    Capture,
    Change,
    MapEvent,
    Preview,
    hide,
    preview_events,
    private_texts,
    redacted,
)
from tidegate.mapping.references import Files
from tidegate.mapping.transforms import REGISTRY
from tidegate.monitor.map_events import read_map_events, with_articles
from tidegate.sdk.connector import Connector
from tidegate.vault.bodies import BodyCipher

_flow = click.argument("flow", type=click.Choice(["orders", "shipments"]), default="orders")
_file_option = click.option(
    "--map",
    "map_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the maps of this configuration file instead of tidegate.yaml. Files that it names lie beside it.",
)
LAST_MAX = 10_000


@click.group("map")
def map_() -> None:
    """Show and try maps: how orders and shipments are shaped for the system that they go to.

    \b
    A map stands in tidegate.yaml under `maps:`. Change it, try it, put it to work:
      tidegate map test --last 500      what would differ from what was sent
      tidegate config apply             from now on
    """


@map_.command()
@_flow
@project_option
@_file_option
@json_option
@click.option("--last", type=click.IntRange(1, LAST_MAX), default=500, show_default=True, help="So many events.")
@click.option("--order", "number", help="Only the order of this number.")
@click.option(
    "--file",
    "capture_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the events of this file (tidegate map capture) instead of the database.",
)
@click.option("--private", "is_private", is_flag=True, help="Show names, addresses and e-mail as they are.")
def test(
    flow: str,
    project_dir: Path | None,
    map_file: Path | None,
    last: int,
    number: str | None,
    capture_file: Path | None,
    *,
    is_private: bool,
    as_json: bool,
) -> None:
    """Run the map of tidegate.yaml over the last orders (or shipments) and show field by field what would differ.

    Compared with what was sent; where nothing was sent yet, with the order as it is. Nothing is written, nothing is
    sent, and the map need not be applied before. Ends with status 1 when the map fails for an event.

    \b
    Examples:
      tidegate map test
      tidegate map test shipments --last 50
      tidegate map test --order 1001
      tidegate map test --map candidate.yaml --json
      tidegate map test --file tests/orders.json
    """
    chosen = cast("Flow", flow)
    previews, events = asyncio.run(
        run_preview(
            project_dir,
            chosen,
            connectors=known_connectors(),
            map_file=map_file,
            last=last,
            number=number,
            capture_file=capture_file,
        )
    )
    if number is not None and not events:
        raise ConfigurationError(
            f"no order is called {number!r}", code="order_unknown", hint="tidegate events list --limit 20"
        )
    shown = [_hidden(preview, event, is_private=is_private) for preview, event in zip(previews, events, strict=True)]
    if as_json:
        print_json({"flow": flow, **count(shown), "events": [_entry(preview) for preview in shown]})
    else:
        _print(flow, shown)
    if any(preview.refused is not None and preview.refused.kind == "fail" for preview in shown):
        raise click.exceptions.Exit(1)


@map_.command()
@_flow
@project_option
@click.option("--last", type=click.IntRange(1, LAST_MAX), default=20, show_default=True, help="So many events.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file to write.")
@click.option("--private", "is_private", is_flag=True, help="Keep names, addresses and e-mail as they are.")
def capture(flow: str, project_dir: Path | None, last: int, out: Path, *, is_private: bool) -> None:
    """Write the last orders (or shipments) into a file, for tests of maps and hooks.

    What is known of people is replaced by placeholders of the same kind, unless --private is given; countries, numbers,
    articles and amounts stay.

    \b
    Example:
      tidegate map capture --last 20 --out tests/orders.json
      then in a test:  assert replay("tests/orders.json").diff().only("lines")
    """
    chosen = cast("Flow", flow)

    async def body() -> list[MapEvent]:
        async with open_session(find_project(project_dir)) as session:
            return await _read(session, chosen, last, None)

    events = asyncio.run(body())
    kept = tuple(event if is_private else redacted(event) for event in events)
    data = msgspec.json.format(msgspec.json.encode(Capture(flow=chosen, events=kept)), indent=1)
    out.write_bytes(data + b"\n")
    out.chmod(0o600 if is_private else 0o644)
    click.echo(f"{len(kept)} {flow} in {out}{'' if is_private else ', names and addresses replaced'}")


@map_.command()
@_flow
@project_option
@_file_option
@json_option
def show(flow: str, project_dir: Path | None, map_file: Path | None, *, as_json: bool) -> None:
    """Show the map that is at work in tidegate.yaml, what its target takes, and what a rule may read.

    \b
    Examples:
      tidegate map show
      tidegate map show shipments --json
    """
    connectors = known_connectors()
    config, maps, _ = load_maps(project_dir, map_file, connectors)
    chosen = cast("Flow", flow)
    flow_map = maps.of(chosen)
    rules = [
        {"target": rule.path, "rule": rule.written, "on_missing": rule.on_missing, "default": rule.default}
        for each in flow_map.rules
        for rule in each
    ]
    rules += [
        {"target": place, "rule": name, "on_missing": "-", "default": None} for place, name in flow_map.hooks.items()
    ]
    targets = {target.path: target.title for each in targets_of(config, connectors).get(chosen, ()) for target in each}
    sources = {name: str(kind) for name, kind in sources_of(chosen, is_line=chosen == "orders").items()}
    if as_json:
        document = {"flow": flow, "digest": maps.digest.hex(), "rules": rules, "targets": targets, "sources": sources}
        print_json({**document, "hooks": list(HOOK_PLACES[chosen])})
        return
    columns = ("target", "rule", "on_missing", "default")
    empty = f"no map for {flow}: they are sent as they are"
    print_table(columns, [[rule[name] for name in columns] for rule in rules], empty=empty)
    click.echo(f"\nwhat the target takes (and hooks: {', '.join(HOOK_PLACES[chosen])}):")
    print_table(("target", "becomes"), list(targets.items()), empty="nothing: its connector declares no targets")
    click.echo("\nwhat a rule may read (`line.*` in rules of lines only):")
    print_table(("source", "type"), list(sources.items()), empty="nothing")


@map_.command()
@click.argument("name", required=False)
@json_option
def transforms(name: str | None, *, as_json: bool) -> None:
    """List the transforms that a rule may use, and the functions of expressions.

    \b
    Example:
      tidegate map transforms phone
    """
    found = [entry for entry in REGISTRY.values() if name in (None, entry.name)]
    if not found:
        raise click.UsageError(f"there is no transform {name!r}; there are: {', '.join(REGISTRY)}")
    rows = [{"name": e.name, "takes": e.takes, "gives": e.gives, "usage": e.usage, "does": e.says} for e in found]
    if as_json:
        print_json(rows)
        return
    print_table(("name", "takes", "gives", "usage", "does"), [list(row.values()) for row in rows], empty="none")
    if name is None:
        click.echo("\nin expressions, besides what CEL has:")
        print_table(("function", "does"), list(FUNCTIONS.items()), empty="none")


# --- work ----------------------------------------------------------------------------------------------------------
def load_maps(
    project_dir: Path | None, map_file: Path | None, connectors: Mapping[str, Connector]
) -> tuple[Config, CompiledMaps, HookHost | None]:
    """Return configuration, maps and a host for their hooks. Raises ConfigurationError with every problem and its place."""
    file = map_file if map_file is not None else find_project(project_dir).config_file
    config = load(file, connectors=connectors)
    files = read_files(file.parent, config)
    maps, problems = compile_maps(config.maps, config.tables, config.hooks, files=files)
    if problems:
        raise ConfigurationError(problems[0].message, code="config_invalid", hint=problems[0].hint)
    return config, maps, HookHost(maps, config.hooks, files) if has_hooks(maps) else None


async def require_hooks(config: Config, files: Files) -> None:
    """Load the hooks of a configuration, in a process of their own, before it is put to work.

    Raises ConfigurationError, with file and line, when they cannot be used: every order would fail.
    """
    maps, _ = compile_maps(config.maps, config.tables, config.hooks, files=files)
    if not has_hooks(maps):
        return
    host = HookHost(maps, config.hooks, files)
    try:
        refused = await host.check()
    finally:
        await host.close()
    if refused is not None:
        raise ConfigurationError(
            f"the hooks of the maps cannot be used: {refused.reason}",
            code=refused.code,
            hint="mend the module, then try it with: tidegate map test",
        )


async def run_preview(
    project_dir: Path | None,
    flow: Flow,
    *,
    connectors: Mapping[str, Connector],
    map_file: Path | None = None,
    last: int = 500,
    number: str | None = None,
    capture_file: Path | None = None,
) -> tuple[list[Preview], list[MapEvent]]:
    """Return what the maps of a file make of the last events, or of captured ones, with these events. Writes nothing."""
    _, maps, host = load_maps(project_dir, map_file, connectors)
    try:
        if capture_file is not None:
            events = read_capture(capture_file, flow)
            return await preview_events(maps, flow, events, host=host), events
        async with open_session(find_project(project_dir)) as session:
            events = await _read(session, flow, last, number)
            previews = await preview_events(maps, flow, events, host=host)
            return await with_articles(session.conn, session.tenant_id, session.config, previews), events
    finally:
        if host is not None:
            await host.close()


async def _read(session: Session, flow: Flow, last: int, number: str | None) -> list[MapEvent]:
    cipher = BodyCipher(session.key_ring())
    return await read_map_events(
        session.conn, session.tenant_id, session.config, cipher, flow=flow, limit=last, number=number
    )


def read_capture(path: Path, flow: Flow) -> list[MapEvent]:
    """Return the events of a file. Raises ConfigurationError when it is none of ours, or of another flow."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Capture)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(
            f"{path} is no capture: {error}",
            code="capture_invalid",
            hint="make one with: tidegate map capture --out FILE",
        ) from error
    if found.flow != flow:
        raise ConfigurationError(f"{path} holds {found.flow}, not {flow}", code="capture_invalid")
    return list(found.events)


def count(previews: Sequence[Preview]) -> dict[str, Any]:
    """Return how many events a map changes, fails for, holds and skips, and how often each field differs."""
    kinds = Counter(preview.refused.kind for preview in previews if preview.refused is not None)
    fields = Counter(change.path for preview in previews for change in preview.changes)
    return {
        "events_seen": len(previews),
        "sent": sum(preview.was_sent for preview in previews),
        "changed": sum(bool(preview.changes) and preview.refused is None for preview in previews),
        "unchanged": sum(not preview.changes and preview.refused is None for preview in previews),
        "failed": kinds["fail"],
        "held": kinds["hold"],
        "skipped": kinds["skip"],
        "fields": dict(fields.most_common()),
    }


def _hidden(preview: Preview, event: MapEvent, *, is_private: bool) -> Preview:
    """Return the preview without what is private in its event."""
    private = getattr(event.draft, "private", None)
    if is_private or private is None:
        return preview
    texts = private_texts(private)
    changes = tuple(
        Change(path=each.path, before=_hide(each.before, texts), after=_hide(each.after, texts))
        for each in preview.changes
    )
    refused = preview.refused
    if refused is not None:
        refused = msgspec.structs.replace(refused, reason=hide(refused.reason, texts))
    return msgspec.structs.replace(preview, changes=changes, refused=refused, payload=None)


def _hide(text: str | None, texts: dict[str, str]) -> str | None:
    return hide(text, texts) if text is not None else None


def _entry(preview: Preview) -> dict[str, Any]:
    return {
        "name": preview.name,
        "was_sent": preview.was_sent,
        "refused": preview.refused,
        "changes": list(preview.changes),
    }


def _print(flow: str, previews: Sequence[Preview]) -> None:
    rows = [
        [preview.name if index == 0 else "", change.path, change.before, change.after]
        for preview in previews
        if preview.refused is None
        for index, change in enumerate(preview.changes)
    ]
    print_table((flow[:-1], "field", "sent", "would be"), rows, empty="no field would differ")
    for preview in previews:
        if preview.refused is not None:
            word = {"fail": "fails", "hold": "is held", "skip": "is left out"}[preview.refused.kind]
            click.echo(f"{safe_line(preview.name)} {word}: {preview.refused.code}: {safe_line(preview.refused.reason)}")
    numbers = count(previews)
    words = [
        f"{numbers[name]} {name}" for name in ("changed", "unchanged", "failed", "held", "skipped") if numbers[name]
    ]
    click.echo(
        f"{numbers['events_seen']} {flow}, {numbers['sent']} sent before: {', '.join(words) or 'nothing to see'}"
    )
