"""What broke, what would break first under more load, and which line of the configuration helps. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tidegate.rehearsal.profile import Profile
from tidegate.rehearsal.records import Advice, Calls, Side, Stage

SLOW_MS = {"door": 1_000.0, "apply": 2_000.0, "lane": 10_000.0}
"""Stage -> from which p99 on it is said to be slow."""
BUSIEST_SECONDS = 10.0
"""How long the busiest stretch is that is compared with a rule; what the rule allows at once is allowed in it, too."""
FULL = 0.5
"""A limit that was used so far in its busiest seconds is named as the next to break."""


def advise(
    profile: Profile,
    side: Side,
    stages: Sequence[Stage],
    calls: Mapping[str, Calls],
    processes: Mapping[str, int],
    erp: str,
) -> tuple[Advice, ...]:
    """Return what to say, the worst first; never nothing."""
    found = [
        *_lost(side),
        *_oversold(side),
        *_throttled(profile, calls),
        *_undrained(profile, side, stages, erp),
        *_slow(stages, processes, erp),
        *_unseen(profile, side),
    ]
    return (*found, *_next_to_break(profile, calls, stages))


def _lost(side: Side) -> list[Advice]:
    found = []
    if side.lost and side.drained_s is None:
        found.append(_broken(f"{side.lost} orders or shipments had not arrived when the wait was over", ""))
    elif side.lost or side.doubled or side.wrong_lines:
        what = f"{side.lost} lost, {side.doubled} doubled, {side.wrong_lines} with other lines"
        found.append(_broken(f"{what}: this must not happen; keep the report and tell us the seed", ""))
    if side.conservation_imbalance:
        found.append(_broken("the books of events do not balance: tidegate conservation shows where", ""))
    return found


def _oversold(side: Side) -> list[Advice]:
    if not side.oversold:
        return []
    sku, units = max(side.oversold_skus.items(), key=lambda pair: pair[1])
    late = "" if side.visible_p99_ms is None else f" (others see a sale after {side.visible_p99_ms / 1000:.1f} s, p99)"
    return [
        _broken(
            f"{side.oversold} units were sold that nobody has, {units} of them {sku}: channels sell on while news travels{late}",
            f'overrides: [{{match: "sku:{sku}", stock.safety: {_round_up(units)}}}]',
        )
    ]


def _throttled(profile: Profile, calls: Mapping[str, Calls]) -> list[Advice]:
    found = []
    for name, count in calls.items():
        if not count.answers_429:
            continue
        share = max(0.1, 1.0 - profile.eaten - 0.05) if profile.eaten else 0.9
        found.append(
            _broken(
                f"{name} answered 429 to {count.answers_429} of {count.total} calls",
                f"connections: {{{name}: {{share: {share:.2f}}}}}",
            )
        )
    return found


def _undrained(profile: Profile, side: Side, stages: Sequence[Stage], erp: str) -> list[Advice]:
    if side.drained_s is not None and side.drained_s <= max(profile.seconds, 60.0):
        return []
    slowest = max(stages, key=lambda stage: stage.p99_ms, default=None)
    where = f"; the longest wait was `{slowest.name}` ({slowest.p99_ms / 1000:.0f} s, p99)" if slowest else ""
    after = (
        "did not settle in time" if side.drained_s is None else f"settled {side.drained_s:.0f} s after the last order"
    )
    return [_broken(f"it {after}{where}", f"connections: {{{erp}: {{share: 1.0}}}}, processes: {{dispatch: 2}}")]


def _slow(stages: Sequence[Stage], processes: Mapping[str, int], erp: str) -> list[Advice]:
    found = []
    for stage in stages:
        for part, limit_ms in SLOW_MS.items():
            if not stage.name.startswith(part) or stage.p99_ms <= limit_ms:
                continue
            seconds = f"`{stage.name}` took {stage.p99_ms / 1000:.1f} s (p99)"
            if part == "lane":
                found.append(_broken(f"{seconds}: {erp} takes orders more slowly than they come", ""))
            else:
                found.append(_broken(seconds, f"processes: {{{part}: {processes.get(part, 1) + 1}}}"))
    return found


def _unseen(profile: Profile, side: Side) -> list[Advice]:
    if not side.not_visible and side.oldest_not_visible_s <= 60:
        return []
    late = f"a change waited {side.oldest_not_visible_s:.0f} s to be seen everywhere"
    if profile.faults.dropped:
        late += "; a lost webhook waits for the next poll, and a number whose answer was lost until nobody can still write it"
    return [_broken(late, "")]


def _next_to_break(profile: Profile, calls: Mapping[str, Calls], stages: Sequence[Stage]) -> list[Advice]:
    """Name the platform whose rule was used most, and the load at which it is full."""
    used = {
        name: count.busiest_per_second / (count.limit_per_second + count.burst / BUSIEST_SECONDS)
        for name, count in calls.items()
        if count.limit_per_second
    }
    if used:
        name, share = max(used.items(), key=lambda pair: pair[1])
        if share >= FULL:
            times = 1.0 / share
            return [
                Advice(
                    is_broken=False,
                    what=f"next to break: the limit of {name}, {share:.0%} used in its busiest 10 s, full at {times:.1f} x this load",
                    setting="profiles: {peak: {stock.safety: 5}} with fewer, fuller calls; or a larger plan at the platform",
                )
            ]
    slowest = max(stages, key=lambda stage: stage.p99_ms, default=None)
    rate = profile.orders / profile.seconds
    words = f"no limit of a platform was half used at {rate:.0f} orders/s"
    if slowest is not None:
        words += f"; the longest part of the way is `{slowest.name}` ({slowest.p99_ms:.0f} ms, p99)"
    return [Advice(is_broken=False, what=words, setting="")]


def _broken(what: str, setting: str) -> Advice:
    return Advice(is_broken=True, what=what, setting=setting)


def _round_up(units: int) -> int:
    step = 5 if units < 100 else 50
    return -(-units // step) * step
