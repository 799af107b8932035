"""Why a command about money is not sent: decided under the locks of T2s, from what is true then."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.commerce.states import CommandState
from tidegate.dispatch.payments import why_not_capture, why_not_refund, why_not_void

CAPTURE = {"payment_state": "authorised", "order_state": "open", "has_left": True, "external_id": "pi_1"}
VOID = {"payment_state": "authorised", "order_state": "cancelled", "captured_minor": 0, "is_asked_for": False}
REFUND = {
    "origin": "channel", "psp_ref": None, "channel_ref": "r-1", "state": "succeeded", "payment_external_id": "pi_1"
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "state", "code"),
    [
        ({}, None, None),
        ({"payment_state": "captured"}, CommandState.SUCCEEDED, "already_captured"),
        ({"payment_state": "voided"}, CommandState.FAILED, "authorisation_gone"),
        ({"payment_state": "failed"}, CommandState.FAILED, "authorisation_gone"),
        ({"order_state": "cancelled", "has_left": False}, CommandState.CANCELLED, "nothing_left"),
        ({"order_state": "cancelled"}, None, None),
    ],
)
def test_a_capture(change: dict[str, Any], state: CommandState | None, code: str | None) -> None:
    why = why_not_capture({**CAPTURE, **change})
    assert (why.state, why.code) == (state, code) if why is not None else code is None


@pytest.mark.parametrize(
    ("change", "state", "code"),
    [
        ({}, None, None),
        ({"payment_state": "voided"}, CommandState.SUCCEEDED, "already_voided"),
        ({"order_state": "open"}, CommandState.CANCELLED, "nothing_left"),
        ({"captured_minor": 5}, CommandState.CANCELLED, "captured_meanwhile"),
        ({"is_asked_for": True}, CommandState.CANCELLED, "captured_meanwhile"),
        ({"payment_state": "captured"}, CommandState.CANCELLED, "captured_meanwhile"),
        ({"payment_state": "failed"}, CommandState.CANCELLED, "authorisation_gone"),
    ],
)
def test_a_release(change: dict[str, Any], state: CommandState | None, code: str | None) -> None:
    why = why_not_void({**VOID, **change})
    assert (why.state, why.code) == (state, code) if why is not None else code is None


@pytest.mark.parametrize(
    ("change", "state", "code"),
    [
        ({}, None, None),
        ({"psp_ref": "re_1"}, CommandState.SUCCEEDED, "already_there"),
        ({"state": "cancelled"}, CommandState.CANCELLED, "nothing_left"),
        ({"payment_external_id": None}, CommandState.FAILED, "payment_missing"),
        ({"origin": "provider", "psp_ref": "re_1", "channel_ref": None}, None, None),
        ({"origin": "provider", "psp_ref": "re_1"}, CommandState.SUCCEEDED, "already_there"),
    ],
)
def test_a_refund(change: dict[str, Any], state: CommandState | None, code: str | None) -> None:
    why = why_not_refund({**REFUND, **change})
    assert (why.state, why.code) == (state, code) if why is not None else code is None


def test_what_does_not_exist_fails() -> None:
    assert [why.code for why in (why_not_capture(None), why_not_void(None), why_not_refund(None)) if why] == [
        "capture_missing", "payment_missing", "refund_missing",
    ]  # fmt: skip
