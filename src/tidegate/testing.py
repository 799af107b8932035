"""For tests of maps and hooks: run them over real or captured orders, and say what may differ.

    from tidegate.testing import replay

    def test_gift_boxes() -> None:
        assert replay("tests/orders.json").diff().only("lines")
        assert replay("last:500", flow="orders").diff().only("lines", "note")

Nothing is written and nothing is sent. `last:N` reads the running installation of the project.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tidegate.app import connectors
from tidegate.cli.maps import run_preview
from tidegate.mapping.apply import Refused
from tidegate.mapping.paths import Flow
from tidegate.mapping.preview import Change, Preview, is_within

_SHOWN_MAX = 10


class Verdict:
    """True or false, with the words for a failing assertion."""

    def __init__(self, offences: Sequence[str]) -> None:
        """Without offences it is true."""
        self.offences = tuple(offences)

    def __bool__(self) -> bool:
        """Whether there is no offence."""
        return not self.offences

    def __repr__(self) -> str:
        """Return the first offences, one a line."""
        more = len(self.offences) - _SHOWN_MAX
        lines = [*self.offences[:_SHOWN_MAX], *([f"... and {more} more"] if more > 0 else [])]
        return "nothing else differs" if self else "\n" + "\n".join(lines)


class Diff:
    """What maps would make different, event by event."""

    def __init__(self, previews: Sequence[Preview]) -> None:
        """Hold the previews of a replay."""
        self.previews = tuple(previews)

    def __iter__(self) -> Iterator[tuple[str, Change]]:
        """Yield (number of the order, change)."""
        return ((preview.name, change) for preview in self.previews for change in preview.changes)

    @property
    def refused(self) -> dict[str, Refused]:
        """Events that would not be sent: number -> why."""
        return {preview.name: preview.refused for preview in self.previews if preview.refused is not None}

    @property
    def paths(self) -> frozenset[str]:
        """The fields that differ somewhere."""
        return frozenset(change.path for _, change in self)

    def only(self, *paths: str) -> Verdict:
        """Whether nothing but these fields differs, and no event fails. `lines` holds `lines[2].sku`."""
        return Verdict(
            [
                *(f"{name}: {each.code}: {each.reason}" for name, each in self.refused.items() if each.kind == "fail"),
                *(
                    f"{name}: {change.path}: {change.before!r} -> {change.after!r}"
                    for name, change in self
                    if not is_within(change.path, paths)
                ),
            ]
        )

    def nothing(self) -> Verdict:
        """Whether no field differs at all, and no event fails."""
        return self.only()


class Replay:
    """The maps of a project over some events."""

    def __init__(self, previews: Sequence[Preview]) -> None:
        """Hold what they made of each event."""
        self.previews = tuple(previews)

    def __len__(self) -> int:
        """How many events there were."""
        return len(self.previews)

    def diff(self) -> Diff:
        """Return what would differ from what was sent; from the order as it is, where nothing was sent."""
        return Diff(self.previews)


def replay(events: str | Path, *, flow: Flow = "orders", project: str | Path | None = None) -> Replay:
    """Run the maps of the project's tidegate.yaml over events: `last:N`, or a file of `tidegate map capture`.

    `project` is the folder of tidegate.yaml, by default the nearest one upward. Raises ConfigurationError with every
    problem of the maps.
    """
    folder = Path(project) if project is not None else None
    last = re.fullmatch(r"last:([1-9]\d{0,4})", str(events))
    if last is not None:
        run = run_preview(folder, flow, connectors=connectors(), last=int(last[1]))
    else:
        run = run_preview(folder, flow, connectors=connectors(), capture_file=Path(events))
    previews, _ = asyncio.run(run)
    return Replay(previews)
