"""The platforms that there are, by the word that a world file uses for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, cast

from aiohttp import web

from tidegate.kernel.errors import ConfigurationError
from tidegate.sandbox import erp, shopify, stripe, threepl, woocommerce
from tidegate.sandbox.world import World

Build = Callable[[World, str, Mapping[str, Any]], web.Application]
"""Makes the server of the platform with this name in this world, with these options; sets HANDLES in it."""

KINDS: Mapping[str, Build] = MappingProxyType(
    {
        "erp": erp.build,
        "shopify": shopify.build,
        "stripe": stripe.build,
        "threepl": threepl.build,
        "till": threepl.build_till,
        "woocommerce": woocommerce.build,
    }
)


def load_kind(place: str) -> tuple[str, Build]:
    """Return a kind that stands elsewhere, from `kind=module:function`. Raises ConfigurationError."""
    kind, _, target = place.partition("=")
    module, _, name = target.partition(":")
    try:
        return kind, cast("Build", getattr(import_module(module), name or "build"))
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"{place!r} cannot be loaded: {error}", hint="write it as kind=module:function"
        ) from error
