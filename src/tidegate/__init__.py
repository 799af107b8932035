"""Tidegate keeps the orders and the stock of shops, ERPs and warehouses in step."""

__version__ = "0.1.0"
