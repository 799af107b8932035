"""Laws of idempotency keys: whatever a provider does with a request and its key, money moves once, and it does move."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, get_args

from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.commerce.commands import CommandKind
from tidegate.commerce.states import CommandState
from tidegate.dispatch.decide import Circumstances, Decision, decide_found, decide_outcome
from tidegate.dispatch.settings import DEFAULTS
from tidegate.kernel.errors import OutcomeUnknownError
from tidegate.sdk.connector import Done, Failed, ItemOutcome, NotFound
from tidegate.sdk.failures import refusal_of

Fate = Literal["good", "lost", "late", "reply_lost", "kept_undone", "kept_done", "edge", "edge_late"]
"""What becomes of a request that comes under a new key: lost: it never arrives. late: nobody answers, and it arrives before
its deadline. kept_*: a 500 that is kept under the key. edge*: a 500 of something in front of the provider, not kept."""
DEADLINE, SETTLE = 30.0, 35.0
FATES = st.lists(st.sampled_from(get_args(Fate)), max_size=6)


@dataclass
class Provider:
    """Keeps answers under keys, as providers of payments do; doubles whatever comes under another key."""

    fates: list[Fate]
    now: float = 0.0
    effects: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    """Key -> status of the answer."""
    travelling: list[tuple[float, str]] = field(default_factory=list)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for moment, key in [one for one in self.travelling if one[0] <= self.now]:
            self.travelling.remove((moment, key))
            self._run(key)

    def request(self, key: str) -> ItemOutcome:
        if key in self.kept:
            return self._answer(self.kept[key], replayed=True)
        fate = self.fates.pop(0) if self.fates else "good"
        if fate in ("late", "edge_late"):
            self.travelling.append((self.now + DEADLINE - 1, key))
        elif fate in ("kept_undone", "kept_done"):
            self.effects += fate == "kept_done"
            self.kept[key] = 500
        elif fate in ("good", "reply_lost"):
            self._run(key)
        if fate in ("lost", "late", "reply_lost"):
            return Failed(error=OutcomeUnknownError(code="no_answer"))
        return self._answer(200 if fate == "good" else 500, replayed=False)

    def _run(self, key: str) -> None:
        if key not in self.kept:
            self.effects += 1
            self.kept[key] = 200

    def _answer(self, status: int, *, replayed: bool) -> ItemOutcome:
        if status == 200:
            return Done(external_id="1")
        headers = {"idempotent-replayed": "true"} if replayed else {}
        error = refusal_of(status, headers, changes_state=True, now=datetime(2026, 11, 27, tzinfo=UTC))
        assert error is not None
        return Failed(error=error)


@given(FATES)
@example(["kept_undone", "kept_undone", "late"])
@example(["edge_late", "kept_undone", "edge_late"])
def test_money_moves_once_whatever_becomes_of_requests_and_keys(fates: list[Fate]) -> None:
    """A key is left for another one after its failure was repeated and nothing was found twice; never before."""
    provider = Provider(fates)
    keys, attempts, negatives, settles_at = ["key-1"], 0, 0, 0.0
    state, is_spent = CommandState.PENDING, False
    for _ in range(200):
        if state is CommandState.SUCCEEDED:
            break
        if state is CommandState.PENDING:
            if is_spent:
                assert provider.kept[keys[-1]] == 500, "another key only where nothing can come of this one any more"
                keys, is_spent = [*keys, f"key-{len(keys) + 1}"], False
            attempts, negatives = attempts + 1, 0
            outcome = provider.request(keys[-1])
            decision = decide_outcome(outcome, _about(attempts), settle_seconds=SETTLE, settings=DEFAULTS)
            is_spent, settles_at = decision.is_key_spent, provider.now + (decision.settle_seconds or 0.0)
        else:
            seen = Done(external_id="1") if provider.effects else NotFound()
            left = max(0.0, settles_at - provider.now)
            decision = decide_found(
                seen, _about(attempts), negatives=negatives, settles_in_seconds=left, settings=DEFAULTS
            )
            negatives += decision.is_negative
        state = decision.state
        assert provider.effects <= 1
        provider.wait(_seconds(decision))
    provider.wait(10 * DEADLINE)

    assert state is CommandState.SUCCEEDED
    assert provider.effects == 1
    assert len(keys) - 1 <= sum(status == 500 for status in provider.kept.values())


def _about(attempt_number: int) -> Circumstances:
    return Circumstances(
        kind=CommandKind.REFUND_CREATE,
        attempt_number=attempt_number,
        seconds_left=1e6,
        writes_begun=1,
        safe_to_resend=False,
    )


def _seconds(decision: Decision) -> float:
    return max(decision.wait_seconds or 0.0, 0.001)
