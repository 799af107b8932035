"""The description of the API is written down, so that a change of it is seen in review and clients have it offline.

TIDEGATE_WRITE_OPENAPI=1 writes the file anew; the difference is then read like any other.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import msgspec

from tidegate.kernel.clock import SystemClock
from tidegate.store.connections import Pool
from tidegate.web.api.documents import encode_description
from tidegate.web.application import build_litestar
from tidegate.web.database import combiner_on, key_finder_on
from tidegate.web.settings import WebSettings
from tidegate.web.world import World

OPENAPI_FILE = Path(__file__).parents[3] / "docs" / "reference" / "openapi.json"


def built() -> bytes:
    world = World(
        pool=cast("Pool", None),
        key_finder=key_finder_on(cast("Pool", None), acquire_seconds=1),
        clock=SystemClock(),
        cell="c0",
        settings=WebSettings(),
        keys={},
        connectors={},
        project=None,
        combiner=combiner_on(cast("Pool", None)),
    )
    return encode_description(build_litestar(world).openapi_schema.to_schema())


def test_the_description_is_the_one_that_is_written_down() -> None:
    found = built()
    if os.environ.get("TIDEGATE_WRITE_OPENAPI"):
        OPENAPI_FILE.write_bytes(found)
    assert found == OPENAPI_FILE.read_bytes(), (
        "write it anew: TIDEGATE_WRITE_OPENAPI=1 pytest tests/unit/web/test_openapi.py"
    )


def test_it_names_no_other_host_and_no_page_of_people() -> None:
    """Nothing of it is loaded from elsewhere; what is under `/v1` is in it, and nothing else."""
    document = msgspec.json.decode(built())
    assert b"http://" not in built().replace(b"http://127.0.0.1", b"")
    assert b"cdn" not in built()
    assert {path.split("/")[1] for path in document["paths"]} == {"v1"}
    assert document["openapi"].startswith("3.1")
