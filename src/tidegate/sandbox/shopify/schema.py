"""The schema that requests are held to: the official one where a world names its file, else our reduced one."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

from graphql import GraphQLError, GraphQLSchema, build_client_schema, build_schema

from tidegate.kernel.errors import ConfigurationError

REDUCED = Path(__file__).with_name("schema.graphql")
"""The operations that this server has, in their official shape; a test holds it to the official schema."""
OFFICIAL_BYTES_MAX = 64 << 20


@cache
def load_schema(path: str | None) -> GraphQLSchema:
    """Return the schema: of an introspection result (JSON, also gzipped) or SDL at `path`, the reduced one without a path.

    Raises ConfigurationError for a file that is none of these.
    """
    if path is None:
        return build_schema(REDUCED.read_text())
    try:
        raw = Path(path).read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        if len(raw) > OFFICIAL_BYTES_MAX:
            raise ConfigurationError(f"the schema {path} is larger than {OFFICIAL_BYTES_MAX} bytes")
        if not raw.lstrip().startswith(b"{"):
            return build_schema(raw.decode())
        told: Any = json.loads(raw)
        # The published schema breaks a rule of the specification (deprecated implementations), so it is taken as valid.
        return build_client_schema(told.get("data", told), assume_valid=True)
    except (OSError, ValueError, TypeError, KeyError, GraphQLError) as error:
        raise ConfigurationError(f"the schema {path} cannot be used: {error}") from error
