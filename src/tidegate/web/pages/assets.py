"""The style sheet, the script and the icon: read once, addressed by the hash of their content, kept by browsers for a year."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

PREFIX = "/assets/"
HASH_CHARS = 16
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
KEPT = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Asset:
    """One file."""

    content: bytes
    media_type: str


class Assets:
    """All of them, by address."""

    def __init__(self) -> None:
        """Read the files of the package."""
        self._addresses: dict[str, str] = {}
        self._by_name: dict[str, Asset] = {}
        for entry in sorted((files("tidegate.web.pages") / "assets").iterdir(), key=lambda entry: entry.name):
            stem, dot, end = entry.name.rpartition(".")
            media_type = TYPES.get(dot + end)
            if media_type is None:
                continue
            content = entry.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:HASH_CHARS]
            self._addresses[entry.name] = f"{PREFIX}{stem}.{digest}.{end}"
            self._by_name[f"{stem}.{digest}.{end}"] = Asset(content, media_type)

    def address(self, name: str) -> str:
        """Return the address of a file, for example of `page.css`. Raises KeyError when there is none."""
        return self._addresses[name]

    def find(self, name: str) -> Asset | None:
        """Return what stands at an address below `/assets/`; None for an older content, or anything else."""
        return self._by_name.get(name)

    @property
    def addresses(self) -> Mapping[str, str]:
        """Name -> address."""
        return self._addresses
