"""What broke and why, what would break first under more load, and which line of the configuration helps. Pure.

A line is advised only where it moves what was the bound: by what work waited for, second by second, and by who had the processors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tidegate.rehearsal import waits
from tidegate.rehearsal.processors import FULL
from tidegate.rehearsal.profile import Faults, Profile
from tidegate.rehearsal.records import Advice, Calls, Held, Load, Oversale, Side, Stage
from tidegate.rehearsal.waits import Slots

SETTLED_SECONDS = 60.0
"""What settles within that after the last order is not late, whatever it waited for."""
SLOW_MS = {"door": 1_000.0, "apply": 2_000.0, "lane": 10_000.0}
"""Stage -> from where on it is slow: by its median, where faults of the play delay some webhooks on purpose, else by p99."""
HELD_SECONDS = 5
"""What held work for less is not named."""
BUSIEST_SECONDS = 10.0
"""How long the busiest stretch is that is compared with a rule; what the rule allows at once is allowed in it, too."""
HALF = 0.5
"""A limit that was used so far in its busiest seconds is named as the next to break."""
WIDER_MERGE_SECONDS = 1
WIDER_MERGE = f"{WIDER_MERGE_SECONDS}s"


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration and the machine had to offer."""

    erp: str
    cpus: int
    processes: Mapping[str, int] = {}
    shares: Mapping[str, float] = {}
    """Connection -> share of its platform's budget that is ours; 1 where it is not named."""
    slots: Mapping[str, Slots] = {}
    merges: frozenset[str] = frozenset()
    """Connections that take many stock numbers in one call, and let them wait for company less long than they could."""
    loads: tuple[Load, ...] = ()

    @property
    def is_full(self) -> bool:
        """Whether all processors were busy while work waited."""
        return sum(load.while_waiting for load in self.loads) >= FULL * self.cpus

    def is_busy(self, part: str) -> bool:
        """Whether each process of a part had a processor to itself while work waited, and no rest."""
        used = sum(load.while_waiting for load in self.loads if load.part == part)
        return used >= FULL * max(1, self.processes.get(part, 1))


def advise(
    profile: Profile,
    side: Side,
    stages: Sequence[Stage],
    calls: Mapping[str, Calls],
    held: Sequence[Held],
    scene: Scene,
) -> tuple[Advice, ...]:
    """Return what to say, the worst first; never nothing."""
    found = [
        *_lost(side),
        *_oversold(side),
        *_throttled(profile, calls),
        *_late(profile, side, stages, calls, held, scene),
        *_slow(profile, stages, scene),
    ]
    return (*found, _next_to_break(profile, calls, stages, () if found else held, scene, is_broken=bool(found)))


def _lost(side: Side) -> list[Advice]:
    found = []
    if side.lost and side.settled_s is None:
        found.append(_broken(f"{side.lost} orders or shipments had not arrived when the wait was over"))
    elif side.lost or side.doubled or side.wrong_lines:
        what = f"{side.lost} lost, {side.doubled} doubled, {side.wrong_lines} with other lines"
        found.append(_broken(f"{what}: this must not happen; keep the report and tell us the seed"))
    if side.conservation_imbalance:
        found.append(_broken("the books of events do not balance: tidegate conservation shows where"))
    return found


def _oversold(side: Side) -> list[Advice]:
    """Say what bounds it: every channel shows the shared number, and sells on until it was told that nothing is left."""
    if not side.oversales:
        return []
    worst = side.oversales[0]
    others = f" ({worst.units} of them {worst.sku})" if len(side.oversales) > 1 else ""
    seen = "" if side.visible_p99_ms is None else f", here {side.visible_p99_ms / 1000:.1f} s (p99)"
    what = (
        f"{side.oversold} units were sold that nobody has{others}: every channel shows the one shared number, so it sells on "
        f"until it hears that the last unit is gone. The bound is what the other channels sell until they see a sale{seen}. "
        "Units withheld from them cover it, and are left over where fewer are needed"
    )
    return [_broken(what, f'overrides: [{{match: "sku:{worst.sku}", stock.safety: {_round_up(worst.units)}}}]')]


def tell_oversale(one: Oversale) -> str:
    """Return an oversale as one line."""
    channels = ", ".join(f"{units} in {name}" for name, units in one.by_channel.items())
    return (
        f"{one.sku}: {one.units} units too many ({channels}), sold between {one.gone_at:.1f} s, when the last unit went, "
        f"and {one.last_at:.1f} s"
    )


def _throttled(profile: Profile, calls: Mapping[str, Calls]) -> list[Advice]:
    found = []
    for name, count in calls.items():
        if not count.answers_429:
            continue
        share = max(0.1, 1.0 - profile.eaten - 0.05) if profile.eaten else 0.9
        found.append(
            _broken(
                f"{name} answered 429 to {count.answers_429} of {count.total} calls",
                f"lanes: {{{name}: {{share: {share:.2f}}}}}",
            )
        )
    return found


# --- late ----------------------------------------------------------------------------------------------------------
def _late(
    profile: Profile,
    side: Side,
    stages: Sequence[Stage],
    calls: Mapping[str, Calls],
    held: Sequence[Held],
    scene: Scene,
) -> list[Advice]:
    """Say for each connection whose work came late what it waited for, and what moves that."""
    lane = next((stage.p99_ms for stage in stages if stage.name.startswith("lane")), 0.0)
    late = []
    if side.drained_s is None:
        late.append("it did not settle in time")
    elif side.drained_s > max(profile.seconds, SETTLED_SECONDS):
        late.append(f"the last of it was told {side.drained_s:.0f} s after the last order")
    if lane > SLOW_MS["lane"]:
        late.append(f"orders waited {lane / 1000:.0f} s (p99) for their first request")
    if side.oldest_not_visible_s > SETTLED_SECONDS:
        late.append(f"a sale waited {side.oldest_not_visible_s:.0f} s to be seen everywhere")
    if not late:
        return []
    worst = [one for one in waits.longest_of(held) if one.seconds >= HELD_SECONDS]
    if not worst:
        return [_broken(f"{' and '.join(late)}, and no work of a lane waited for long: {_of_faults(profile)}")]
    causes: dict[tuple[str, str, str], list[Held]] = {}
    for one in worst:
        words, setting = _explain(one, profile, calls.get(one.connection, Calls()), scene)
        causes.setdefault((waits.WORDS[one.reason], words, setting), []).append(one)
    found: list[Advice] = []
    for (reason, words, setting), some in causes.items():
        begin = "" if found else f"{' and '.join(late)}. "
        whose = ", ".join(f"{one.connection} {one.seconds} s" for one in some)
        found.append(_broken(f"{begin}Work waited for {reason} ({whose}): {words}", setting))
    return found


def _explain(one: Held, profile: Profile, count: Calls, scene: Scene) -> tuple[str, str]:
    """Return why, and the line that moves it; '' where none does."""
    name = one.connection
    match one.reason:
        case waits.LIMIT:
            return _limited(name, profile, count, scene)
        case waits.CALLS_AT_ONCE if not scene.is_full:
            slots = scene.slots.get(name)
            at_once = f"it takes {slots.calls_max} calls at once" if slots is not None else "it takes few calls at once"
            return f"{at_once}, and only faster answers let more through; no setting of ours does", ""
        case waits.CALLS_AT_ONCE | waits.OURS if scene.is_full:
            return (
                f"{_full(scene)}, and the simulated platforms share it. Rehearse on more processors before you tune",
                "",
            )
        case waits.OURS:
            return _ours(profile, scene)
        case waits.AWAY | waits.ASKED_TO_WAIT:
            return "it failed or refused calls in a row; no setting of ours makes it answer", ""
        case waits.DOUBT:
            words = (
                f"{profile.faults.replies_lost:.0%} of the writes got no answer, and a number is not written again before "
                "the old write can no longer arrive; no setting makes that shorter"
            )
            return words, ""
        case _:
            return f"{profile.faults.errors:.0%} of the requests failed; what fails is tried again ever more slowly", ""


def _limited(name: str, profile: Profile, count: Calls, scene: Scene) -> tuple[str, str]:
    rule = (
        f"{count.limit_per_second:,.0f}/s are ours there" if count.limit_per_second is not None else "its rule is full"
    )
    share = scene.shares.get(name, 1.0)
    if share < 1.0 - profile.eaten:
        return (
            f"{rule}, and lanes.{name}.share takes {share:.0%} of it",
            f"lanes: {{{name}: {{share: {1 - profile.eaten:.2f}}}}}",
        )
    if name in scene.merges:
        return (
            f"{rule}; numbers that wait longer for company make fuller calls, and are told that much later",
            f"lanes: {{{name}: {{stock_merge: {WIDER_MERGE}}}}}",
        )
    return f"{rule}; a larger plan there is what helps", ""


def _ours(profile: Profile, scene: Scene) -> tuple[str, str]:
    busy = [part for part in ("dispatch", "apply", "door", "postgres") if scene.is_busy(part)]
    if busy and busy[0] != "postgres":
        return f"{busy[0]} had no processor time left while others were idle", _one_more(busy[0], scene)
    if busy:
        return "PostgreSQL had a whole processor to itself and no rest; no setting of ours moves that", ""
    if profile.kills:
        return f"{len(profile.kills)} of them were killed, and what a dead one was sending is looked after first", ""
    return "none of them was busy for long; tidegate lanes shows such a moment while it lasts", ""


def _full(scene: Scene) -> str:
    used = [
        f"{load.part} {load.while_waiting:.1f}" for load in sorted(scene.loads, key=lambda load: -load.while_waiting)
    ]
    return f"this machine was full meanwhile ({scene.cpus} processors: {', '.join(used[:4])})"


def _one_more(part: str, scene: Scene) -> str:
    return f"processes: {{{part}: {scene.processes.get(part, 1) + 1}}}"


def _of_faults(profile: Profile) -> str:
    faults = profile.faults
    words = []
    if faults.dropped or faults.untold:
        words.append("a lost webhook is found by the next poll")
    if faults.reordered:
        words.append("a reordered one is held back for up to 2 s")
    if profile.kills:
        words.append("what was sent to a killed process is sent again later")
    return "; ".join(words) or "the report has the longest parts of the way"


def _are_late(faults: Faults) -> bool:
    """Whether the play itself makes webhooks come late, or not at all."""
    return bool(faults.reordered or faults.dropped or faults.untold)


def _slow(profile: Profile, stages: Sequence[Stage], scene: Scene) -> list[Advice]:
    """Name door and apply where they are slow by themselves, and not because the play holds webhooks back."""
    found = []
    for stage in stages:
        part = stage.name.partition(":")[0]
        if part not in {"door", "apply"}:
            continue
        is_delayed = part == "door" and (_are_late(profile.faults) or profile.kills)
        measured, words = (stage.p50_ms, "p50") if is_delayed or profile.kills else (stage.p99_ms, "p99")
        if measured <= SLOW_MS[part]:
            continue
        took = f"`{stage.name}` took {measured / 1000:.1f} s ({words})"
        if scene.is_full:
            found.append(_broken(f"{took}: {_full(scene)}. Rehearse on more processors before you tune"))
        elif scene.is_busy(part):
            found.append(_broken(f"{took}: {part} had no processor time left", _one_more(part, scene)))
        else:
            found.append(_broken(f"{took}, and {part} was not busy: it waited for the database or for its turn"))
    return found


# --- next ----------------------------------------------------------------------------------------------------------
def _next_to_break(
    profile: Profile,
    calls: Mapping[str, Calls],
    stages: Sequence[Stage],
    held: Sequence[Held],
    scene: Scene,
    *,
    is_broken: bool,
) -> Advice:
    """Name the platform whose rule was used most and the load at which it is full; else what was waited for; else the longest part."""
    used = {
        name: count.busiest_per_second / (count.limit_per_second + count.burst / BUSIEST_SECONDS)
        for name, count in calls.items()
        if count.limit_per_second
    }
    name, share = max(used.items(), key=lambda pair: pair[1], default=("", 0.0))
    if share >= HALF:
        what = f"the limit of {name}, {share:.0%} used in its busiest 10 s, full at {1 / share:.1f} x this load"
        setting = f"lanes: {{{name}: {{stock_merge: {WIDER_MERGE}}}}}" if name in scene.merges else ""
        return Advice(is_broken=False, what=what, setting=setting)
    if scene.is_full and not is_broken:
        return Advice(is_broken=False, what=_full(scene), setting="")
    rate = f"{profile.orders / profile.seconds:,.0f} orders/s"
    worst = next((one for one in waits.longest_of(held) if one.seconds >= HELD_SECONDS), None)
    if worst is not None:
        words, setting = _explain(worst, profile, calls.get(worst.connection, Calls()), scene)
        what = f"{worst.connection}, whose work waited {worst.seconds} s for {waits.WORDS[worst.reason]}: {words}"
        return Advice(is_broken=False, what=what, setting=setting)
    slowest = max(stages, key=lambda stage: stage.p50_ms, default=None)
    words = f"no limit of a platform was half used at {rate}" + ("" if is_broken else ", and no work waited for long")
    if slowest is not None:
        words += f"; the longest part of the way is `{slowest.name}` ({slowest.p50_ms:,.0f} ms, p50)"
    return Advice(is_broken=False, what=words, setting="")


def _broken(what: str, setting: str = "") -> Advice:
    return Advice(is_broken=True, what=what, setting=setting)


def _round_up(units: int) -> int:
    step = 5 if units < 100 else 50
    return -(-units // step) * step
