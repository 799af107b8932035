"""Doctor on an installation that is well, and on one that is broken in many ways: each is named, and each fix mends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.installation import InOrder, Installation, eventually, installed
from tidegate.sdk.testing.hostile_process import HostileProcess

FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders:    {from: [shop], to: erp, since: 2020-01-01, mode: live}
  shipments: {from: erp, to: origin, mode: live}
  stock:     {from: erp, to: [shop], mode: live}
"""


@dataclass
class Patient:
    tidegate: Installation
    shop: HostileProcess
    erp: HostileProcess

    def findings(self, *arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
        """Return the findings by check and code."""
        answer = self.tidegate.run("doctor", "--json", *arguments)
        return {(finding["check"], finding["code"]): finding for finding in answer.json}

    def settings(self, remote: HostileProcess, **values: Any) -> None:
        remote.control("PUT", "/__settings", values)

    def fix(self, area: str) -> str:
        answer = self.tidegate.run("doctor", "--fix", "--yes", "--only", area)
        return answer.out + answer.err


@contextmanager
def opened() -> Iterator[Patient]:
    with HostileProcess(account="shop") as shop, HostileProcess(account="erp") as erp, installed() as tidegate:
        shop.control("POST", "/__articles", [{"sku": "TEA"}])
        tidegate.configure({"shop": shop, "erp": erp}, FLOWS)
        erp.control("POST", "/__articles", [{"sku": "TEA", "erp_on_hand": 5}])
        tidegate.do("up", "--detach")
        for name in ("erp", "shop"):
            tidegate.do("connect", name, "--yes")
        yield Patient(tidegate, shop, erp)


@pytest.fixture(scope="module")
def shared() -> Iterator[InOrder[Patient]]:
    with closing(InOrder(opened)) as shared:
        yield shared


@pytest.fixture
def patient(request: pytest.FixtureRequest, shared: InOrder[Patient]) -> Patient:
    return shared.of(request)


def test_well(patient: Patient) -> None:
    """Everything is looked at, nothing is to mend; deliveries to ourselves come back and are counted as ignored."""
    eventually(lambda: patient.tidegate.run("doctor").status == 0, "doctor is not content", patient.tidegate)

    found = patient.findings()
    assert [finding for finding in found.values() if finding["verdict"] == "fail"] == []
    for name in ("shop", "erp"):
        for code in ("credential_valid", "scopes", "webhook", "clock_skew", "limits", "credential_life", "self_test"):
            assert (f"connection {name}", code) in found, (name, code, sorted(found))
    assert "applied after" in found["connection shop", "self_test"]["words"]
    assert {finding["area"] for finding in found.values()} == {
        "machine", "configuration", "database", "connections", "secrets", "scopes", "webhooks", "clock", "limits",
        "mappings", "work",
    }  # fmt: skip
    assert found["public address", "poll_only"]["verdict"] == "warn"
    assert "proxy" in found["public address", "poll_only"]["fix"]
    ignored = patient.tidegate.do("events", "list", "--outcome", "ignored", "--json").json
    assert {event["code"] for event in ignored if event["topic"] == "tidegate.self_test"} == {"self_test"}
    assert patient.tidegate.run("conservation").status == 0


def test_only_one_area_and_words_for_people(patient: Patient) -> None:
    assert {finding["area"] for finding in patient.findings("--only", "clock").values()} == {"clock"}
    answer = patient.tidegate.run("doctor", "--only", "webhooks", "--only", "scopes")
    assert answer.out.splitlines()[0] == "scopes"
    assert "why: " in answer.out
    assert "[poll_only]" in answer.out
    assert "Warning" not in answer.err


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        pytest.param({"subscriptions": {}}, "webhook_absent", id="gone"),
        pytest.param({"webhooks_enabled": False}, "webhook_disabled", id="switched off"),
    ],
)
def test_a_webhook_that_is_gone_is_registered_again(patient: Patient, settings: dict[str, Any], code: str) -> None:
    patient.settings(patient.shop, **settings)
    answer = patient.tidegate.run("doctor", "--only", "webhooks")
    assert answer.status == 1
    assert f"[{code}]" in answer.out
    assert "tidegate doctor --fix" in answer.out

    assert "register the webhook of shop again" in patient.fix("webhooks")

    patient.settings(patient.shop, webhooks_enabled=True)
    assert patient.findings("--only", "webhooks")["connection shop", "webhook"]["verdict"] == "ok"
    assert len(patient.shop.world().subscriptions) == 1


def test_rights_limits_and_expiry_that_the_platform_tells(patient: Patient) -> None:
    patient.settings(
        patient.shop, rights=["orders", "reports"], calls_per_second=2, key_expires_at="2026-01-01T00:00:00Z"
    )
    found = patient.findings("--only", "scopes", "--only", "limits", "--only", "secrets")
    assert found["connection shop", "scopes_missing"]["verdict"] == "fail"
    assert "stock, webhooks" in found["connection shop", "scopes_missing"]["words"]
    assert "reports" in found["connection shop", "scopes_surplus"]["words"]
    assert "2 calls/s" in found["connection shop", "limits_exceeded"]["words"]
    assert found["connection shop", "credential_expires"]["verdict"] == "fail"
    patient.settings(patient.shop, rights=["orders", "stock", "webhooks"], calls_per_second=None, key_expires_at=None)
    assert [f for f in patient.findings("--only", "scopes").values() if f["verdict"] != "ok"] == []


def test_a_connection_that_waited_goes_on_when_the_key_is_good_again(patient: Patient) -> None:
    patient.settings(patient.erp, api_key="another-key")
    patient.erp.control("POST", "/__expire_tokens", {})

    def waits() -> bool:
        return ("connection erp", "waiting_auth") in patient.findings("--only", "connections", "--offline")

    eventually(waits, "the connection does not wait", patient.tidegate)
    found = patient.findings("--only", "secrets", "--only", "connections")
    assert found["connection erp", "unauthorized"]["verdict"] == "fail"

    patient.settings(patient.erp, api_key="hostile-api-key")
    assert ("connection erp", "resumable") in patient.findings("--only", "connections")
    patient.fix("connections")
    eventually(lambda: not waits(), "the connection does not go on", patient.tidegate)


def test_sku_of_an_open_order_without_counterpart(patient: Patient) -> None:
    patient.shop.control("POST", "/__articles", [{"sku": "NEW-SKU"}])
    patient.shop.control("POST", "/__shop/orders", {"lines": [{"sku": "NEW-SKU", "quantity": 1}]})
    eventually(
        lambda: ("articles", "sku_unbound_open") in patient.findings("--only", "mappings"),
        "it is not seen",
        patient.tidegate,
    )
    assert "NEW-SKU" in patient.findings("--only", "mappings")["articles", "sku_unbound_open"]["words"]
    eventually(
        lambda: any(i["code"] == "sku_unbound" for i in patient.tidegate.do("issues", "list", "--json").json),
        "it is no issue", patient.tidegate,
    )  # fmt: skip
    (issue,) = [
        i
        for i in patient.tidegate.do("issues", "list", "--json").json
        if i["code"] == "sku_unbound" and i["connection"] == "erp"
    ]
    dry = patient.tidegate.do("issues", "retry", issue["issue_id"], "--dry-run")
    assert "would be refused again" in dry.out
    shown = patient.tidegate.do("issues", "show", issue["issue_id"], "--sample")
    assert "no counterpart" in shown.out

    patient.erp.control("POST", "/__articles", [{"sku": "NEW-SKU", "erp_on_hand": 1}])
    patient.tidegate.do("connect", "erp", "--yes")
    assert ("articles", "sku_unbound_open") not in patient.findings("--only", "mappings")
    patient.tidegate.do("issues", "retry", issue["issue_id"], "--canary", "1", "--yes")  # unless connect did it already
    eventually(lambda: len(patient.erp.world().erp_orders) == 1, "the order is not there", patient.tidegate)

    def is_resolved() -> bool:
        return patient.tidegate.do("issues", "show", issue["issue_id"], "--json").json["state"] == "resolved"

    eventually(is_resolved, "the issue is not resolved", patient.tidegate)


def test_a_silent_remote_holds_nobody_up(patient: Patient) -> None:
    """A platform that takes connections and says nothing costs its own checks only."""
    patient.shop.control(
        "PUT", "/__faults", {"rules": [{"kind": "delay", "path": "/api/key", "seconds": 60, "times": None}]}
    )
    found = patient.findings("--only", "scopes", "--only", "limits", "--only", "webhooks")
    patient.shop.control("PUT", "/__faults", {"rules": []})
    assert found["connection shop", "answer_timeout"]["verdict"] == "warn"
    assert found["connection shop", "webhook"]["verdict"] == "ok"
    assert found["connection erp", "limits"]["verdict"] == "ok"
    assert found["connection shop", "self_test"]["verdict"] == "ok"


def test_a_self_test_through_a_wrong_address_names_the_leg(patient: Patient) -> None:
    config = patient.tidegate.folder / "tidegate.yaml"
    before = config.read_text()
    try:
        for url, code in (("http://nowhere.invalid", "self_test_name"), (patient.shop.base_url, "self_test_not_ours")):
            config.write_text(before + f"public_url: {url}\n")
            found = patient.findings("--only", "webhooks")
            assert found["connection shop", code]["verdict"] == "fail", sorted(found)
    finally:
        config.write_text(before)


def test_what_needs_a_running_installation_is_said_when_there_is_none(patient: Patient) -> None:
    patient.tidegate.do("down")
    answer = patient.tidegate.run("doctor", "--json")
    assert answer.status == 1
    codes = {finding["code"]: finding for finding in answer.json}
    assert "not_running" in codes
    assert "mappings" in codes["unmade"]["words"]
    assert {"fsync", "zones", "versions", "root"} <= codes.keys()
