"""Real third-party systems (shops, ERP) that `make demo` and `make e2e` run Tidegate against.

Called by the demo, the end-to-end tests and by hand (`python -m realsystems.vendure`). Imports nothing
from `tidegate`, and `tidegate` never imports this package: what lives here plays the outside world.
"""
