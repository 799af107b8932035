"""The sandbox's process: its line at the start, its end, its control API, and what goes wrong when it is asked to."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.sandboxbed import KIOSK, ROOT, STOP_SECONDS, Receiver, RunningSandbox, call, eventually, running

ITEMS = [{"sku": "A", "stock": 5, "price_minor": 250}, {"sku": "B", "stock": 1000}]


def world(**kiosk: Any) -> dict[str, Any]:
    return {"seed": 7, "time_scale": 1200.0, "items": ITEMS, "platforms": {"kiosk": {"kind": "kiosk", **kiosk}}}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[RunningSandbox]:
    with running(world(), tmp_path) as sandbox:
        yield sandbox


def test_a_sale_is_kept_once_and_stock_is_enforced(sandbox: RunningSandbox) -> None:
    """What is sold is gone, what is not there is refused, and a key buys once."""
    first = sandbox.buy("kiosk", "A", 4, key="k1")
    assert first["sold"] is True
    assert sandbox.buy("kiosk", "A", 4, key="k1") == first
    assert sandbox.buy("kiosk", "A", 2) == {
        "sold": False,
        "key": "kiosk-2",
        "id": "",
        "number": 0,
        "reason": "out_of_stock",
        "sku": "A",
    }

    books = sandbox.ask("GET", "/books/kiosk")

    assert (books["orders"], books["units_sold"], books["refused_sales"], books["oversold"]) == (1, 4, 1, {})
    assert sandbox.ask("GET", "/books/kiosk/items")["items"]["A"]["levels"]["front"] == {"available": 1, "committed": 4}
    assert sandbox.ask("GET", "/books/kiosk/orders")["orders"]["k1"]["key"] == "k1"
    assert [change["cause"] for change in sandbox.ask("GET", "/books/kiosk/changes")["changes"]] == ["sale"]


def test_many_purchases_in_one_call(sandbox: RunningSandbox) -> None:
    """A list is answered by a list in its order."""
    wanted = [{"platform": "kiosk", "lines": [{"sku": "B"}], "key": f"b{number}"} for number in range(50)]
    answers = sandbox.ask("POST", "/orders", wanted)
    assert [answer["key"] for answer in answers] == [f"b{number}" for number in range(50)]
    assert all(answer["sold"] for answer in answers)


def test_an_unenforced_shop_sells_below_zero_and_counts_it(tmp_path: Path) -> None:
    """Oversold units are in the books, by article."""
    with running(world(enforces_stock=False), tmp_path) as sandbox:
        assert sandbox.buy("kiosk", "A", 8)["sold"] is True
        assert sandbox.ask("GET", "/books/kiosk")["oversold"] == {"A": 3}


def test_a_limit_counts_what_broke_it(tmp_path: Path) -> None:
    """Every refusal is a violation, and only those."""
    with running(world(options={"burst": 3, "per_second": 0.001}), tmp_path) as sandbox:
        statuses = [call(sandbox.url("kiosk") + "/stock/A", "PUT", b"9").status for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        limit = sandbox.ask("GET", "/limits/kiosk?seconds=60")["requests"]
        assert (limit["admitted"], limit["violations"], limit["used"]) == (3, 2, 3.0)
        assert sum(second["refused"] for second in limit["seconds"]) == 2
        calls = sandbox.ask("GET", "/calls/kiosk?last=2")
        assert calls["by_operation"] == {"write": {"200": 3, "throttled": 2}}
        assert [entry["is_throttled"] for entry in calls["last"]] == [True, True]


def test_a_platform_without_a_limit_can_be_given_one(tmp_path: Path) -> None:
    """What is more than it allows is refused with its own 429 and counted; a later allowance takes the place of the first."""
    with running(world(allows={"per_second": 0.001, "burst": 2}), tmp_path) as sandbox:

        def put() -> int:
            return call(sandbox.url("kiosk") + "/stock/A", "PUT", b"9").status

        assert [put() for _ in range(3)] == [200, 200, 429]
        assert sandbox.ask("GET", "/limits/kiosk")["allowed_rate"]["violations"] == 1
        sandbox.ask("PUT", "/limits/kiosk", {"at_once": 1})
        assert [put() for _ in range(3)] == [200, 200, 200]
        limits = sandbox.ask("GET", "/limits/kiosk")
        assert "allowed_rate" not in limits
        assert (limits["allowed_at_once"]["admitted"], limits["allowed_at_once"]["level"]) == (3, 1.0)
        sandbox.ask("PUT", "/limits/kiosk", {})
        assert "allowed_at_once" not in sandbox.ask("GET", "/limits/kiosk")


def test_another_app_eats(sandbox: RunningSandbox) -> None:
    """The share is taken from every budget of the platform, and can be given back."""
    sandbox.ask("POST", "/eat", {"platform": "kiosk", "share": 0.25})
    assert sandbox.ask("GET", "/limits/kiosk")["requests"]["eaten"] == 0.25
    sandbox.ask("POST", "/eat", {"platform": "kiosk", "share": 0.0})
    assert sandbox.ask("GET", "/limits/kiosk")["requests"]["eaten"] == 0.0


@pytest.mark.parametrize(
    ("fault", "status", "happened"),
    [("throttled", 429, False), ("broken", 503, False), ("expired", 401, False), ("broken_after", 503, True)],
)
def test_a_fault_of_a_call_says_what_the_platform_says(
    sandbox: RunningSandbox, fault: str, status: int, happened: bool
) -> None:
    """A fault is told in the platform's own words, and the books know whether it happened all the same."""
    sandbox.ask("PUT", "/faults/kiosk", {"profile": {fault: 1.0}})
    assert call(sandbox.url("kiosk") + "/stock/A", "PUT", b"9").status == status
    assert bool(sandbox.ask("GET", "/books/kiosk")["effects"]) is happened
    assert sandbox.ask("GET", "/faults/kiosk")["fired"] == {fault: 1}


@pytest.mark.parametrize(("fault", "happened"), [("down", False), ("lost_replies", True)])
def test_a_connection_is_cut(sandbox: RunningSandbox, fault: str, happened: bool) -> None:
    """No answer comes, before or after the effect."""
    sandbox.ask("PUT", "/faults/kiosk", {"profile": {fault: 1.0}})
    with pytest.raises((http.client.HTTPException, OSError)):
        call(sandbox.url("kiosk") + "/stock/A", "PUT", b"9")
    assert bool(sandbox.ask("GET", "/books/kiosk")["effects"]) is happened
    assert sandbox.ask("GET", "/calls/kiosk?last=1")["last"][0]["status"] == 0


def test_garbage_is_no_answer_and_a_slow_one_is_whole(sandbox: RunningSandbox) -> None:
    """Garbage comes in several forms; a slow answer arrives complete."""
    sandbox.ask("PUT", "/faults/kiosk", {"profile": {"garbage": 1.0}})
    bodies = {call(sandbox.url("kiosk") + "/stock/A", "PUT", b"9").body for _ in range(20)}
    assert len(bodies) == 4
    for body in bodies:
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(body)
    sandbox.ask("PUT", "/faults/kiosk", {"profile": {"slow": 1.0, "slow_seconds": 0.1}})
    assert call(sandbox.url("kiosk") + "/stock/A", "PUT", b"9").json == {"sku": "A", "quantity": 9}


def test_a_storm_ends_by_itself(sandbox: RunningSandbox) -> None:
    """`for_seconds` brings the old profile back."""
    sandbox.ask("PUT", "/faults/kiosk", {"profile": {"throttled": 1.0}, "for_seconds": 0.2})
    sandbox.ask("PUT", "/faults/kiosk", {"profile": {"broken": 1.0}, "for_seconds": 0.2})
    eventually(lambda: call(sandbox.url("kiosk") + "/stock/A", "PUT", b"9").status == 200, "the storm did not end")
    assert sandbox.ask("GET", "/faults/kiosk")["profile"]["throttled"] == 0.0


def test_webhooks_are_retried_on_the_platforms_schedule(tmp_path: Path) -> None:
    """A refused delivery comes again, signed alike, after its scaled wait; an accepted one does not."""
    with Receiver() as receiver, running(world(options={"hook_url": receiver.url}), tmp_path) as sandbox:
        receiver.answer = lambda arrived: 500 if arrived.headers["x-kiosk-attempt"] < "3" else 200
        sandbox.buy("kiosk", "A")
        eventually(
            lambda: sandbox.ask("GET", "/deliveries/kiosk")["report"]["accepted"] == 1, "the delivery was not accepted"
        )
        assert [arrived.headers["x-kiosk-attempt"] for arrived in receiver.arrived] == ["1", "2", "3"]
        assert {arrived.body for arrived in receiver.arrived} == {b'{"id":"k1"}'}
        log = sandbox.ask("GET", "/deliveries/kiosk?last=10")["last"]
        assert [attempt["status"] for attempt in log] == [500, 500, 200]


def test_a_delivery_that_nobody_takes_is_given_up(tmp_path: Path) -> None:
    """After the last wait of the schedule it is over."""
    with running(world(options={"hook_url": "http://127.0.0.1:9/"}), tmp_path) as sandbox:
        sandbox.buy("kiosk", "A")
        eventually(lambda: sandbox.ask("GET", "/deliveries/kiosk")["report"]["given_up"] == 1, "it was not given up")
        assert sandbox.ask("GET", "/deliveries/kiosk")["report"]["attempts"] == 3


def test_dropped_and_doubled_deliveries(tmp_path: Path) -> None:
    """A dropped delivery never comes; a doubled one comes twice with the same bytes; the report says how many of which."""
    faults = {"dropped": 0.3, "duplicated": 0.3, "reordered_seconds": 0.1}
    with Receiver() as receiver, running(world(options={"hook_url": receiver.url}, faults=faults), tmp_path) as sandbox:
        sandbox.ask("POST", "/orders", [{"platform": "kiosk", "lines": [{"sku": "B"}]} for _ in range(100)])
        eventually(lambda: sandbox.ask("GET", "/deliveries/kiosk")["report"]["waiting"] == 0, "something still waits")
        report = sandbox.ask("GET", "/deliveries/kiosk")["report"]
        assert 10 <= report["dropped"] <= 50
        assert 5 <= report["duplicated"] <= 45
        assert len(receiver.arrived) == 100 - report["dropped"] + report["duplicated"]
        assert len({arrived.body for arrived in receiver.arrived}) == 100 - report["dropped"]


def test_it_sends_nowhere_but_to_the_loopback(tmp_path: Path) -> None:
    """A public address is not looked up and not called; a route leads it to this machine."""
    options = {"hook_url": "https://hooks.example.com/in?a=1"}
    with running(world(options={**options, "retries": []}), tmp_path) as sandbox:
        sandbox.buy("kiosk", "A")
        eventually(lambda: sandbox.ask("GET", "/deliveries/kiosk")["report"]["given_up"] == 1, "it was not given up")
    with Receiver() as receiver:
        routed = {**world(options=options), "routes": {"https://hooks.example.com": receiver.url}}
        with running(routed, tmp_path) as sandbox:
            sandbox.buy("kiosk", "A")
            eventually(lambda: len(receiver.arrived) == 1, "the route was not taken")
            assert receiver.arrived[0].path == "/in?a=1"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/orders", b"{", 422),
        ("POST", "/orders", b'{"platform":"kiosk","lines":[]}', 422),
        ("POST", "/orders", b'{"platform":"kiosk","lines":[{"sku":"A","quantity":0}]}', 422),
        ("POST", "/orders", b'{"platform":"kiosk","lines":[{"sku":"none"}]}', 422),
        ("POST", "/orders", b'{"platform":"else","lines":[{"sku":"A"}]}', 404),
        ("POST", "/stock", b'{"platform":"kiosk","sku":"A","quantity":1,"location":"moon"}', 422),
        ("PUT", "/faults/kiosk", b'{"profile":{"dropped":2}}', 422),
        ("PUT", "/faults/kiosk", b'{"profile":{"unheard_of":1}}', 422),
        ("POST", "/expire/kiosk", b"{}", 409),
        ("POST", "/do/kiosk/dance", b"{}", 404),
        ("POST", "/do/kiosk/cancel", b"{}", 422),
        ("GET", "/books/else", None, 404),
        ("GET", "/books/kiosk/secrets", None, 404),
        ("GET", "/calls/kiosk?last=-1", None, 422),
        ("GET", "/nowhere", None, 404),
    ],
)
def test_a_wrong_request_is_refused_in_words(
    sandbox: RunningSandbox, method: str, path: str, body: bytes | None, status: int
) -> None:
    """No request ends it, and each refusal says why."""
    reply = call(sandbox.control + path, method, body, {"Content-Type": "application/json"})
    assert (reply.status, bool(reply.json["error"])) == (status, True)


def test_a_page_in_a_browser_cannot_drive_it(sandbox: RunningSandbox) -> None:
    """G10: a form post and a name that leads here are refused."""
    body = b'{"platform":"kiosk","share":1}'
    assert call(sandbox.control + "/eat", "POST", body, {"Content-Type": "text/plain"}).status == 415
    reply = call(sandbox.control + "/eat", "POST", body, {"Content-Type": "application/json", "Host": "evil.example"})
    assert reply.status == 421


def test_sigterm_ends_it_in_good_order(tmp_path: Path) -> None:
    """Exit status 0, with deliveries waiting."""
    with running(world(options={"hook_url": "http://127.0.0.1:9/"}), tmp_path) as sandbox:
        sandbox.buy("kiosk", "A")
        sandbox.process.send_signal(signal.SIGTERM)
        assert sandbox.process.wait(STOP_SECONDS) == 0


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """Nobody is left behind when who started it is killed."""
    path = tmp_path / "world.json"
    path.write_bytes(msgspec.json.encode(world()))
    command = [sys.executable, "-m", "tidegate.sandbox", "--world", str(path), "--kind", KIOSK]
    script = f"import subprocess, time\nsubprocess.Popen({command!r})\ntime.sleep(600)\n"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    said = msgspec.json.decode(parent.stdout.readline())
    parent.kill()
    parent.wait(STOP_SECONDS)
    parent.stdout.close()
    eventually(lambda: not _runs(said["pid"]), "the sandbox outlived its parent")


@pytest.mark.parametrize(
    ("world_text", "more", "words"),
    [
        ("{", [], "truncated"),
        ('{"platforms": {}}', [], "platforms"),
        ('{"platforms": {"a": {"kind": "none"}}}', [], "of kind 'none'"),
        ('{"platforms": {"a": {"kind": "kiosk", "oops": 1}}}', [], "oops"),
        ('{"platforms": {"a": {"kind": "kiosk", "options": {"oops": 1}}}}', [], "options of platform 'a'"),
        ('{"platforms": {"a": {"kind": "kiosk", "skus": ["X"]}}}', [], "X"),
        ('{"platforms": {"a": {"kind": "kiosk"}}}', ["--listen", "0.0.0.0:0"], "loopback only"),
        ('{"platforms": {"a": {"kind": "kiosk"}}}', ["--listen", "127.0.0.1"], "HOST:PORT"),
        ('{"platforms": {"a": {"kind": "kiosk"}}}', ["--kind", "x=no.such:thing"], "cannot be loaded"),
    ],
)
def test_a_world_that_cannot_be_is_refused(tmp_path: Path, world_text: str, more: list[str], words: str) -> None:
    """Exit status 78, and words that say where."""
    path = tmp_path / "world.json"
    path.write_text(world_text)
    command = [sys.executable, "-m", "tidegate.sandbox", "--world", str(path), "--kind", KIOSK, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (78, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
