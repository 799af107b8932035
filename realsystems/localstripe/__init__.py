"""localstripe: a stand-in for Stripe from the Python package index, and a proxy before it that loses answers."""

from realsystems.localstripe.proxy import LosingProxy
from realsystems.localstripe.server import API_KEY, LocalStripe

__all__ = ["API_KEY", "LocalStripe", "LosingProxy"]
