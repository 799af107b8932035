"""A whole installation: something breaks, a mail arrives; it is mended, and another mail says so."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.acceptance.installation import Installation, eventually, installed
from tests.alertbed import MailSink
from tidegate.sdk.testing.hostile_process import HostileProcess

FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders:    {from: [shop], to: erp, since: 2020-01-01, mode: live}
  shipments: {from: erp, to: origin, mode: live}
  stock:     {from: erp, to: [shop], mode: live}
"""
AFTER = "the-key-after"


@contextmanager
def mail_server() -> Iterator[MailSink]:
    """A real SMTP server in a thread of its own."""
    sink, ready, stop = MailSink(), threading.Event(), threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(sink.serve, "127.0.0.1", 0)
        sink.port = server.sockets[0].getsockname()[1]
        ready.set()
        await asyncio.to_thread(stop.wait)
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield sink
    finally:
        stop.set()
        thread.join(10)


def alerts(tidegate: Installation, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tidegate.do("alerts", *options, "--json").json["alerts"]
    return found


def readiness(tidegate: Installation) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{tidegate.web_port}/readyz") as answer:
        report: dict[str, Any] = json.loads(answer.read())
        return report


def test_what_breaks_is_told_by_mail_and_so_is_its_end() -> None:
    with (
        mail_server() as mail,
        HostileProcess(account="shop") as shop,
        HostileProcess(account="erp") as erp,
        installed() as tidegate,
    ):
        shop.control("POST", "/__articles", [{"sku": "TEA"}])
        erp.control("POST", "/__articles", [{"sku": "TEA", "erp_on_hand": 5}])
        tidegate.configure({"shop": shop, "erp": erp}, FLOWS)
        tidegate.do("up", "--detach")
        for name in ("erp", "shop"):
            tidegate.do("connect", name, "--yes")
        assert tidegate.run("alerts", "test").status != 0  # nobody is told yet

        tidegate.do("alerts", "add", "ops", "--from-json", "-", stdin=json.dumps(mail.target))
        answered = tidegate.do("alerts", "test", "--json").json
        assert [(each["target"], each["ok"]) for each in answered] == [("ops", True)]
        eventually(lambda: len(mail.mails) == 1, "the test mail did not come", tidegate)
        eventually(lambda: readiness(tidegate)["alerts"] == "looked at", "nobody looks at the rules", tidegate)
        assert alerts(tidegate) == []

        shop.control("PUT", "/__settings", {"api_key": AFTER})
        shop.control("POST", "/__expire_tokens", {})
        eventually(lambda: "does not let us in" in " ".join(mail.subjects()), "no mail tells of it", tidegate)

        (alert,) = [each for each in alerts(tidegate) if each["rule"] == "auth_failure"]
        assert alert["next_command"] == "tidegate connect shop"
        index = next(at for at, subject in enumerate(mail.subjects()) if "does not let us in" in subject)
        assert "tidegate connect shop" in mail.text(index)
        shown = tidegate.do("alerts").out
        assert "shop does not let us in" in shown
        assert "shop does not let us in" in tidegate.do("status").out

        tidegate.do("connect", "shop", "--from-json", "-", "--yes", stdin=json.dumps({"api_key": AFTER}))
        eventually(
            lambda: "over: shop does not let us in" in " ".join(mail.subjects()),
            "no mail says that it is over",
            tidegate,
        )
        assert not [each for each in alerts(tidegate) if each["rule"] == "auth_failure"]
        assert [each["state"] for each in alerts(tidegate, "--all") if each["rule"] == "auth_failure"] == ["resolved"]

        stopped = tidegate.do("alerts", "targets", "--json").json
        assert [target["name"] for target in stopped["targets"]] == ["ops"]
        assert "127.0.0.1" not in json.dumps(stopped)
        tidegate.do("alerts", "remove", "ops")
        assert tidegate.run("alerts", "test", "--target", "ops").status != 0


def test_the_words_of_the_command_teach() -> None:
    with installed() as tidegate:
        page = tidegate.do("alerts", "add", "--help").out

        assert '"kind": "mail"' in page
        assert "heartbeat" in page
        refused = tidegate.run("alerts", "add", "ops", "--from-json", "-", stdin='{"url": "file:///etc/passwd"}')
        assert refused.status == 78
        assert "target_invalid" in refused.err
