"""A WooCommerce shop of the sandbox: REST v3 as 10.9 has it, with the behaviour that was measured there."""

from tidegate.sandbox.woocommerce.server import build

__all__ = ["build"]
