"""The configuration: `tidegate.yaml` read strictly, checked across its parts, kept as versions in the database.

Called by the command line and by every worker; may import `store`, `sdk` and what lies below.
"""

from tidegate.config.parse import FILE_NAME, load, parse
from tidegate.config.records import Config, ConnectionConfig
from tidegate.config.schema import schema

__all__ = ["FILE_NAME", "Config", "ConnectionConfig", "load", "parse", "schema"]
