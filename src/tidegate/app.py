"""The composition root: which connectors there are, and the entry of the command line. The only importer of connectors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType

from tidegate.connectors import shopify, standard_webhooks, stripe, tryton, vendure, woocommerce
from tidegate.kernel.errors import ConfigurationError
from tidegate.sdk.connector import Connector

BUNDLED = (
    shopify.CONNECTOR,
    standard_webhooks.CONNECTOR,
    stripe.CONNECTOR,
    tryton.CONNECTOR,
    vendure.CONNECTOR,
    woocommerce.CONNECTOR,
)
FURTHER_VARIABLE = "TIDEGATE_CONNECTORS"
"""Connectors beside the bundled ones: `module:NAME`, separated by commas. For authors, before they package theirs."""


@cache
def connectors() -> Mapping[str, Connector]:
    """Return all connectors by name. Raises ConfigurationError when a further one cannot be loaded."""
    further = [_load(place) for place in os.environ.get(FURTHER_VARIABLE, "").split(",") if place.strip()]
    return MappingProxyType({connector.name: connector for connector in (*BUNDLED, *further)})


def main() -> None:
    """Run the command line."""
    from tidegate.cli.main import main as run  # noqa: PLC0415 - workers take connectors from here without it

    run(connectors)


def _load(place: str) -> Connector:
    module, _, name = place.strip().partition(":")
    try:
        connector = getattr(import_module(module), name or "CONNECTOR")
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"{FURTHER_VARIABLE} names {place.strip()!r}, which cannot be loaded: {error}", code="connector_missing"
        ) from error
    if not isinstance(connector, Connector):
        raise ConfigurationError(f"{place.strip()!r} is no connector", code="connector_missing")
    return connector
