"""Articles with quantities on the command line."""

from __future__ import annotations

import re

import click

_LINE = re.compile(r"(.+):([1-9]\d{0,6})")


class SkuLine(click.ParamType[tuple[str, int]]):
    """An article and how many of it: SKU or SKU:2."""

    name = "SKU[:QUANTITY]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return SKU and quantity. A SKU may have a colon of its own: then write the quantity behind it."""
        if isinstance(value, tuple):
            return value
        text = str(value)
        match = _LINE.fullmatch(text)
        sku, quantity = (match[1], int(match[2])) if match is not None else (text, 1)
        if not sku.strip() or not sku.isprintable() or len(sku) > 200 or quantity > 1_000_000:
            self.fail(f"{text!r} is no article with its quantity; write SKU or SKU:2", param, ctx)
        return (sku, quantity)
