"""Tryton 8.2 as ERP and warehouse: installed, seeded, started and worked with.

Called by the demo, the end-to-end tests and by hand (`python -m realsystems.tryton`).
"""

from realsystems.tryton.erp import TrytonErp
from realsystems.tryton.warehouse import Article, Line, Sale, Shipment, Warehouse

__all__ = ["Article", "Line", "Sale", "Shipment", "TrytonErp", "Warehouse"]
