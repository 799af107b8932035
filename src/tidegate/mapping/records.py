"""What the configuration says about mapping, as frozen values. How a map is written: docs/reference/mapping.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

Seconds = Annotated[str, Meta(pattern=r"^[0-9]{1,6}(ms|s)$")]
Bytes = Annotated[str, Meta(pattern=r"^[0-9]{1,6}(MB|GB)$")]
OptionValue = str | int | float | bool


class Maps(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One map per flow: target path -> rule. Without one, payloads are as they always were."""

    orders: Mapping[str, Any] = {}
    """What `order.create` carries. A rule is a CEL text, an inline table, a mapping of rule keys, or a list of these."""
    shipments: Mapping[str, Any] = {}
    """What `fulfillment.create` carries."""


class Hooks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of the author's own Python code, and what it is given."""

    deadline: Seconds = "1s"
    """Of one hook for one order: `500ms`, `2s`."""
    memory: Bytes = "256MB"
    """Address space that hooks may take beyond the interpreter's own: `256MB`, `1GB`."""
    options: Mapping[str, OptionValue] = {}
    """Values that hooks see as `cfg.<name>`."""

    @property
    def deadline_seconds(self) -> float:
        """The deadline in seconds."""
        number = self.deadline.removesuffix("s").removesuffix("m")
        return int(number) / 1000 if self.deadline.endswith("ms") else float(number)

    @property
    def memory_bytes(self) -> int:
        """The memory in bytes."""
        unit = 1 << 30 if self.memory.endswith("GB") else 1 << 20
        return int(self.memory[:-2]) * unit
