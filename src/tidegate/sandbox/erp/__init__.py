"""An ERP that answers as Tryton 8.2 does: sales once per web shop and web id, shipments, movements of goods, real stock.

`build` makes its server. What a clerk does in the warehouse is asked for on the control API, or happens at a pace.
"""

from tidegate.sandbox.erp.server import build as build
