"""From the text of `tidegate.yaml` to a `Config`, or to every problem in it with its line, column and hint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from tidegate.config.alerts import check_alerts
from tidegate.config.checks import (
    check_connections,
    check_flows,
    check_lanes,
    check_network,
    check_places,
    check_topics,
)
from tidegate.config.checks_maps import check_maps
from tidegate.config.checks_oversell import check_oversell
from tidegate.config.checks_timing import check_looks, check_schedules, check_sku_rules
from tidegate.config.document import Document, DocumentError, Problem, read_document
from tidegate.config.files import read_files
from tidegate.config.presets import Roles, fill
from tidegate.config.records import Config
from tidegate.config.shape import build, find_secrets, find_unknown_keys
from tidegate.kernel.errors import ConfigurationError
from tidegate.mapping.references import Files, wanted_files
from tidegate.sdk.connector import Connector

FILE_NAME = "tidegate.yaml"


def load(path: FilePath, *, connectors: Mapping[str, Connector] | None = None, roles: Roles | None = None) -> Config:
    """Read and check a configuration file (or the `tidegate.yaml` of a folder).

    Raises ConfigurationError when there is no such file, or with every problem found in it.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"there is no {file}", code="config_missing", hint="make a project with: tidegate init DIR"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not UTF-8 text", code="config_invalid") from error
    config = parse(text, source=file.name, connectors=connectors, roles=roles)
    if connectors is not None and wanted_files(config.maps, config.tables):
        files = read_files(file.parent, config)
        parse(text, source=file.name, connectors=connectors, roles=roles, files=files)
    return config


def parse(
    text: str,
    *,
    source: str = FILE_NAME,
    connectors: Mapping[str, Connector] | None = None,
    roles: Roles | None = None,
    files: Files | None = None,
) -> Config:
    """Return the configuration that a document describes. Pure.

    `connectors` (name -> connector) makes the check complete: without it, names of connectors and their settings, and
    maps, are taken as they stand. With `files` (see `config.files.read_files`) the tables in them are checked too.
    `roles` is what a preset fills by, by default that of `connectors`. Raises ConfigurationError(code="config_invalid")
    whose message has one line `file:line:column: problem; hint` for each problem, in the order of the file.
    """
    config, problems = examine(text, connectors=connectors, roles=roles, files=files)
    if config is None or problems:
        raise ConfigurationError(
            "\n".join(describe_problem(problem, source) for problem in problems),
            code="config_invalid",
            context={"problems": len(problems)},
        )
    return config


def examine(
    text: str,
    *,
    connectors: Mapping[str, Connector] | None = None,
    roles: Roles | None = None,
    files: Files | None = None,
) -> tuple[Config | None, list[Problem]]:
    """Return the configuration, or None, with all problems found, sorted by place. Pure."""
    found, problems = read_filled(text, roles_of(connectors) if roles is None else roles)
    if found is None:
        return None, problems
    problems += find_secrets(found, _secret_names(connectors)) + find_unknown_keys(found)
    config, misfits = build(found)
    problems += misfits
    if config is not None:
        problems += _cross_checks(config, found, connectors)
    if config is not None and connectors is not None:
        problems += check_maps(config, found, text, connectors, files)
    return config, sorted(problems, key=lambda problem: problem.mark)


def read_filled(text: str, roles: Roles) -> tuple[Document | None, list[Problem]]:
    """Return the document of a text with what its preset fills in, or None, and the problems of that. Pure."""
    try:
        document = read_document(text)
    except DocumentError as error:
        return None, [error.problem]
    if not isinstance(document.root, dict):
        return None, [Problem(mark=document.mark_of(()), message="the file must be a list of `key: value` lines")]
    return fill(document, roles)


def roles_of(connectors: Mapping[str, Connector] | None) -> Roles:
    """Return what presets need to know of connectors. Pure."""
    return {name: sorted(connector.roles) for name, connector in (connectors or {}).items()}


def describe_problem(problem: Problem, source: str) -> str:
    """Return one line for people and editors: `file:line:column: problem; hint`."""
    place = f"{source}:{problem.mark.line}:{problem.mark.column}: {problem.message}"
    return f"{place}; {problem.hint}" if problem.hint else place


def _cross_checks(config: Config, document: Document, connectors: Mapping[str, Connector] | None) -> Sequence[Problem]:
    return [
        *check_connections(config, document, connectors),
        *check_lanes(config, document),
        *check_topics(config, document),
        *check_flows(config, document, connectors),
        *check_network(config, document),
        *check_places(config, document),
        *check_schedules(config, document),
        *check_looks(config, document),
        *check_sku_rules(config, document),
        *check_oversell(config, document, connectors),
        *check_alerts(config.alerts, document),
    ]


def _secret_names(connectors: Mapping[str, Any] | None) -> frozenset[str]:
    known = (connectors or {}).values()
    return frozenset(field.name for connector in known for field in connector.fields if field.secret)
