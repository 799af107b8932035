"""Steps of a story, as callers see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from tidegate.kernel.text import mask_people
from tidegate.monitor import story


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a timeline."""

    at: datetime
    kind: Annotated[
        str,
        Meta(
            description="received, outcome, waiting, ledger, planned, sent, asked, answer, finished, shipped or stock"
        ),
    ]
    words: Annotated[str, Meta(description="For people; may change")]
    about: Annotated[str | None, Meta(description="Id of an event, a command or an attempt that leads on")]
    tone: Annotated[str, Meta(description="good, bad, doubt or plain")]


def of_step(step: story.Step) -> Step:
    """Return a step without its details. Pure."""
    return Step(at=step.at, kind=step.kind, words=mask_people(step.words), about=step.about or None, tone=step.tone)
