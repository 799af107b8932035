"""From readings to changes: every subject of every rule takes one step. Pure but for the tracks, which it moves on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime

from tidegate.monitor.alerts.machine import WELL, Timing, Track, step
from tidegate.monitor.alerts.records import Changes, Fact, Reading, Subject
from tidegate.monitor.alerts.rules import Rule, Tuned

CAUSE_CHARS_MAX = 500


class Memory:
    """What one process knows of the subjects of one tenant, between rounds."""

    def __init__(self) -> None:
        """Know nothing."""
        self.tracks: dict[Subject, Track] = {}
        self.told: dict[Subject, tuple[datetime, Fact]] = {}
        """Firing subject -> when its row was written last, and what with."""

    def count_firing(self, rule: str) -> int:
        """Return how many subjects of a rule fire."""
        return sum(track.is_firing for (name, _), track in self.tracks.items() if name == rule)


def judge(
    memory: Memory,
    readings: Mapping[str, Sequence[Reading] | None],
    tuned: Mapping[str, Tuned],
    now: datetime,
    *,
    refresh_seconds: float,
) -> Changes:
    """Move every track on and return what has to be stored.

    A rule without readings (None) could not be looked at: its subjects stay as they are. A subject that is not among the
    readings any more is well; so is every subject of a rule that is switched off.
    """
    changes = Changes()
    for name, setting in tuned.items():
        found = readings.get(name) if setting.enabled else ()
        if found is None:
            continue
        seen = {reading.subject: reading for reading in found}
        for subject in sorted(seen.keys() | {known for rule, known in memory.tracks if rule == name}):
            _judge_one(memory, (name, subject), seen.get(subject), setting, now, changes, refresh_seconds)
    return changes


def _judge_one(
    memory: Memory,
    subject: Subject,
    reading: Reading | None,
    setting: Tuned,
    now: datetime,
    changes: Changes,
    refresh_seconds: float,
) -> None:
    rule = setting.rule
    threshold = setting.threshold if reading is None or reading.threshold is None else reading.threshold
    is_bad = reading is not None and rule.is_bad(reading.value, threshold)
    timing = Timing(hold_seconds=setting.hold_seconds, clear_seconds=rule.clear_seconds if setting.enabled else 0.0)
    track, change = step(memory.tracks.get(subject, WELL), is_bad, timing, now)
    if track.is_quiet:
        memory.tracks.pop(subject, None)
    else:
        memory.tracks[subject] = track
    if change == "resolved":
        memory.told.pop(subject, None)
        changes.resolved.append(subject)
    elif is_bad and track.is_firing and reading is not None:
        fact = _fact(rule, setting, reading, track, threshold, now)
        if change == "fired":
            changes.fired.append(fact)
            memory.told[subject] = (now, fact)
        elif _is_news(memory.told.get(subject), fact, now, refresh_seconds):
            changes.refreshed.append(fact)
            memory.told[subject] = (now, fact)


def _fact(rule: Rule, setting: Tuned, reading: Reading, track: Track, threshold: float, now: datetime) -> Fact:
    connection = shlex.quote(reading.connection or reading.subject)
    order = shlex.quote(reading.order or "NUMBER")
    return Fact(
        rule=rule.id,
        subject=reading.subject,
        severity=setting.severity,
        value=min(reading.value, 1e15),
        threshold=threshold,
        cause=reading.cause[:CAUSE_CHARS_MAX].replace("\0", "?"),
        next_command=reading.next_command
        or rule.next_command.format(subject=reading.subject, connection=connection, order=order),
        since=track.since or now,
        relapses=track.relapses,
    )


def _is_news(told: tuple[datetime, Fact] | None, fact: Fact, now: datetime, refresh_seconds: float) -> bool:
    if told is None or told[1].severity != fact.severity:
        return True
    return told[1] != fact and (now - told[0]).total_seconds() >= refresh_seconds
