"""Money through lost answers: a whole installation, a shop, an ERP, and localstripe behind a proxy that loses answers.

`python -m e2e.payments [--orders N] [--lose SHARE] [--seed N]`. Orders are paid by payments that are authorised at the
provider. The ERP ships most of them, some are cancelled before, of some the shop records a refund. localstripe ignores
idempotency keys, so whatever is sent twice is done twice: its own books are counted at the end. The last line is one JSON
object; the exit status is 1 where anything was done twice or not at all.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from realsystems.localstripe import API_KEY, LocalStripe, LosingProxy
from realsystems.worldpg import free_port

from tidegate.sdk.testing.hostile_process import HostileProcess

PRICE_MINOR = 1250
SETTLE_SECONDS = 420.0
CONFIG = """
listen: {{host: 127.0.0.1, port: {port}, web_port: {web_port}}}
network: {{allow: ["127.0.0.0/8"]}}
connections:
  shop: {{use: hostile, url: "{shop}"}}
  erp: {{use: hostile, url: "{erp}"}}
  pay: {{use: stripe, url: "{pay}"}}
owns: {{stock.on_hand: erp, shipment: erp, payment: pay}}
flows:
  orders: {{from: shop, to: erp, since: 2020-01-01, mode: live}}
  shipments: {{from: erp, mode: live, capture: pay}}
  stock: {{from: erp, to: shop}}
  payments: {{from: pay, mode: live, refund_wait: 1s}}
"""
_CARD = {"card[number]": "4242424242424242", "card[exp_month]": "12", "card[exp_year]": "2035", "card[cvc]": "123"}


class Play:
    """One run."""

    def __init__(self, folder: Path, stripe: LocalStripe, orders: int) -> None:
        self.folder = folder
        self.stripe = stripe
        self.payments: list[str] = []
        self.shipped: set[str] = set()
        self.cancelled: set[str] = set()
        self.refunded: set[str] = set()
        self._orders = orders
        self._card = stripe.call("POST", "/v1/payment_methods", type="card", **_CARD)["id"]

    def tidegate(self, *arguments: str) -> str:
        """Run the command line, which must succeed, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "tidegate", *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=self._environment(), timeout=300,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"tidegate {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
        connector = "tidegate.sdk.testing.hostile_connector:CONNECTOR"
        return {**kept, "TIDEGATE_CONNECTORS": connector, "TIDEGATE_PROJECT": str(self.folder)}

    def install(self, shop: HostileProcess, erp: HostileProcess, pay: str) -> None:
        """Make the project, connect everything, start it."""
        self.tidegate("init", str(self.folder))
        config = CONFIG.format(
            port=free_port(), web_port=free_port(), shop=shop.base_url, erp=erp.base_url, pay=pay
        )  # fmt: skip
        (self.folder / "tidegate.yaml").write_text(config)
        self.tidegate("up", "--detach")
        for name in ("erp", "shop"):
            self.tidegate("connect", name, "--yes")
        self.tidegate("connect", "pay", "--yes", "--set", f"api_key={API_KEY}")

    def sell(self, shop: HostileProcess) -> None:
        """Place the orders, each with a payment that is authorised."""
        for _ in range(self._orders):
            form = {"amount": str(2 * PRICE_MINOR), "currency": "eur", "payment_method": self._card, "confirm": "true"}
            payment = self.stripe.call("POST", "/v1/payment_intents", capture_method="manual", **form)["id"]
            self.payments.append(payment)
            body = {"lines": [{"sku": "TEA", "quantity": 2}], "psp_reference": payment, "payment_state": "pending"}
            shop.control("POST", "/__shop/orders", body)

    def ship_and_cancel(self, shop: HostileProcess, erp: HostileProcess) -> None:
        """Cancel every fifth order, wait until the others are in the ERP, ship them."""
        numbers = dict(enumerate(self.payments, start=1))
        for number, payment in numbers.items():
            if number % 5 == 0:
                shop.control("POST", f"/__shop/orders/o-{number}", {"cancel": True})
                self.cancelled.add(payment)
        wanted = len(self.payments) - len(self.cancelled)
        until(lambda: len(_open(erp)) >= wanted, "the orders reach the ERP: their payments are seen at the provider")
        for reference in _open(erp).values():
            erp.control("POST", "/__erp/ship", {"reference": reference})
            self.shipped.add(reference)

    def captured(self) -> set[str]:
        """Return the payments that are captured."""
        return {one["id"] for one in self.stripe.everything("/v1/payment_intents") if one["status"] == "succeeded"}

    def refund(self, shop: HostileProcess) -> None:
        """Have the shop record a refund of every fourth captured order."""
        numbers = {payment: number for number, payment in enumerate(self.payments, start=1)}
        for payment in sorted(self.captured(), key=lambda one: numbers[one])[::4]:
            body = {"refund": {"amount_minor": 700}}
            shop.control("POST", f"/__shop/orders/o-{numbers[payment]}", body)
            self.refunded.add(payment)

    def books(self) -> dict[str, Any]:
        """Return what the provider's own books say."""
        charges = Counter(
            one["source"] for one in self.stripe.everything("/v1/balance_transactions") if one["type"] == "charge"
        )
        refunds = Counter(
            one["metadata"].get("tidegate_refund", one["id"])
            for one in self.stripe.everything("/v1/refunds")
            if "control" not in one["metadata"]
        )
        states = Counter(
            one["status"] for one in self.stripe.everything("/v1/payment_intents") if one["id"] in self.payments
        )
        return {
            "captures": states["succeeded"],
            "captured_twice": sum(number > 1 for number in charges.values()),
            "voids": states["canceled"],
            "refunds": len(refunds),
            "refunded_twice": sum(number > 1 for number in refunds.values()),
        }


def naive_doubles(stripe: LocalStripe, proxy: LosingProxy, card: str, payments: int) -> int:
    """Return how many of so many refunds a client doubles that sends again whatever got no answer: the control group."""
    made = []
    for _ in range(payments):
        form = {"amount": "900", "currency": "eur", "payment_method": card, "confirm": "true"}
        made.append(stripe.call("POST", "/v1/payment_intents", **form)["id"])
    where = urllib.parse.urlsplit(proxy.url)
    for payment in made:
        body = urllib.parse.urlencode({"payment_intent": payment, "amount": "100", "metadata[control]": "1"})
        headers = {
            "Authorization": f"Bearer {API_KEY}", "Content-Type": "application/x-www-form-urlencoded",
            "Idempotency-Key": payment,
        }  # fmt: skip
        for _attempt in range(10):
            connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)
            try:
                connection.request("POST", "/v1/refunds", body=body, headers=headers)
                connection.getresponse().read()
            except (http.client.HTTPException, OSError):
                continue
            else:
                break
            finally:
                connection.close()
    refunds = Counter(one["payment_intent"] for one in stripe.everything("/v1/refunds"))
    return sum(refunds[payment] > 1 for payment in made)


def until(check: Callable[[], bool], what: str, seconds: float = SETTLE_SECONDS) -> None:
    """Wait until `check` holds. Raises TimeoutError with `what`."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {seconds:.0f} s: {what}")
        time.sleep(0.5)


def _open(erp: HostileProcess) -> dict[str, str]:
    """Return the ERP's orders that are neither shipped nor cancelled: id -> our reference."""
    return {one.order_id: one.reference for one in erp.world().erp_orders.values() if one.state == "open"}


def run(orders: int, share: float, seed: int, folder: Path) -> dict[str, Any]:
    """Play it through and return the figures."""
    begun = time.monotonic()
    with LocalStripe() as stripe, HostileProcess(account="shop") as shop, HostileProcess(account="erp") as erp:
        for remote in (shop, erp):
            articles = [{"sku": "TEA", "title": "Tea", "on_hand": 10 * orders, "price_minor": PRICE_MINOR}]
            remote.control("POST", "/__articles", articles)
        with LosingProxy(stripe.url, share=share, seed=seed) as proxy:
            play = Play(folder, stripe, orders)
            try:
                play.install(shop, erp, proxy.url)
                play.sell(shop)
                play.ship_and_cancel(shop, erp)
                wanted = len(play.shipped)
                until(lambda: len(play.captured()) >= wanted, "what was shipped is captured")
                until(lambda: play.books()["voids"] >= len(play.cancelled), "what was cancelled is released")
                play.refund(shop)
                until(lambda: play.books()["refunds"] >= len(play.refunded), "what the shop refunded is given back")
                until(lambda: _is_quiet(play), "no command waits or is in doubt")
            finally:
                lost = len(proxy.lost)
                _stop(play)
            doubled = naive_doubles(stripe, proxy, play._card, 20)
            figures = {"orders": orders, "shipped": wanted, "cancelled": len(play.cancelled), **play.books()}
    return {
        **figures,
        "refunds_wanted": len(play.refunded),
        "lost_replies": lost,
        "naive_refunded_twice_of_20": doubled,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _is_quiet(play: Play) -> bool:
    waiting = json.loads(play.tidegate("commands", "list", "--json", "--limit", "500"))
    rows = waiting["commands"] if isinstance(waiting, dict) else waiting
    return not any(row["state"] in ("pending", "sending", "in_doubt") for row in rows if row["kind"] in _MONEY)


_MONEY = ("payment.capture", "payment.void", "refund.create")


def _stop(play: Play) -> None:
    try:
        play.tidegate("down")
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)


def main() -> None:
    """Run the play; see the module."""
    parser = argparse.ArgumentParser(prog="python -m e2e.payments", description=__doc__)
    parser.add_argument("--orders", type=int, default=60)
    parser.add_argument("--lose", type=float, default=0.3, help="share of answers to writes that are lost")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="tdg-pay-", dir="/tmp"))
    base.chmod(0o711)
    try:
        figures = run(chosen.orders, chosen.lose, chosen.seed, base / "project")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    print(json.dumps(figures))
    is_good = (
        figures["captured_twice"] == figures["refunded_twice"] == 0
        and figures["captures"] == figures["shipped"]
        and figures["voids"] == figures["cancelled"]
        and figures["refunds"] == figures["refunds_wanted"]
    )
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
